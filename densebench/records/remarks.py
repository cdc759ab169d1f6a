"""What must be said beside a row, in every format: a mark, and the sentence that explains it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from densebench.records.identity import Stored


@dataclass(frozen=True)
class Remark:
    """One thing to be said of a row."""

    word: str  # for a cell that is read by a program
    mark: str
    latex: str  # the mark in LaTeX
    sentence: str


NONDETERMINISTIC = Remark(
    "nondeterministic",
    "‡",
    r"$\ddagger$",
    "the same images did not give the same features twice; the number is one of many",
)
TF32 = Remark(
    "tf32", "§", r"\S{}", "matrix products were rounded to TF32, which is less exact than fp32"
)


def remarks(found: Sequence[Stored]) -> tuple[Remark, ...]:
    """All that must be said of the runs of a row."""
    records = [record for _, record in found]
    said = [
        _contamination(found),
        NONDETERMINISTIC if any(record.nondeterministic for record in records) else None,
        TF32 if any(record.tf32 for record in records) else None,
        _random(records[0].backbone.random_weights),
        _notice(str(records[0].backbone.card.get("notice") or "")),
    ]
    return tuple(remark for remark in said if remark is not None)


def with_marks(text: str, said: Iterable[Remark]) -> str:
    """A name or a number with the marks of what must be said of it."""
    return text + "".join(f" {remark.mark}" for remark in said)


def _contamination(found: Sequence[Stored]) -> Remark | None:
    """Of the run that has seen the most."""
    known = [record.contamination for _, record in found if record.contamination is not None]
    worst = max(known, key=lambda c: c.seen, default=None)
    if worst is None or not worst.seen:
        return None
    sentence = (
        f"{worst.seen:,} of the {worst.total:,} validation images were among the images of the "
        "post-training, so the number is not one of unseen images"
    )
    return Remark(f"contaminated {worst.seen}/{worst.total}", "†", r"$\dagger$", sentence)


def _random(seed: int | None) -> Remark | None:
    if seed is None:
        return None
    sentence = (
        f"the weights are drawn at random (seed {seed}), not learnt, so that the number says "
        "nothing of the backbone of that name"
    )
    return Remark("random weights", "∗", r"$\ast$", sentence)


def _notice(text: str) -> Remark | None:
    """What a card itself says that a reader must know, such as that weights are drawn at random."""
    return Remark("notice", "¶", r"\P{}", text.rstrip(".")) if text else None
