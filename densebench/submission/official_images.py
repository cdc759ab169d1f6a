"""Whether a record is of the official images: whole splits, or a named list of the training's."""

from collections.abc import Iterator

from densebench.cards import TaskCard
from densebench.datasets.published_lists import published_shares
from densebench.datasets.subset import OWN
from densebench.measures.base import Evidence
from densebench.prepare.sources import official_table
from densebench.records.schema import RunRecord


def image_problems(record: RunRecord, card: TaskCard | None, evidence: Evidence) -> Iterator[str]:
    """Each way in which the images of a record are not the official ones.

    Args:
        record: What is looked at.
        card: The task as it ships; none where there is no such task.
        evidence: Of each validation image.
    """
    data = record.dataset
    if record.partial or record.limit is not None:
        yield f"partial: made with --limit {record.limit}; run the whole split"
    if data.skipped:
        first = next(iter(data.skipped))
        yield f"dataset.skipped: {len(data.skipped)} images could not be read, such as {first}"
    scored = len(evidence.names)
    if len(set(evidence.names)) != scored:
        yield "its evidence has an image twice"
    if scored != data.n_val - len(data.skipped):
        yield f"dataset.n_val is {data.n_val}, and its evidence is of {scored} images"
    if card is not None:
        yield from _of_card(record, card)
        yield from _share(record, card)


def _of_card(record: RunRecord, card: TaskCard) -> Iterator[str]:
    """The kind and, where the card takes its splits whole, how many images the owners give."""
    data, own = record.dataset, card.dataset
    if data.kind != own.kind:
        yield f"dataset.kind is {data.kind}, and task {record.task} is on {own.kind}"
        return
    sources = [s for s in official_table().datasets.values() if s.kind == own.kind]
    if not sources or record.partial:
        return
    counts = ("n_train", data.n_train, own.train or data.subset), ("n_val", data.n_val, own.val)
    for key, said, chosen in counts:
        wanted = {getattr(source, key) for source in sources}
        if not chosen and said not in wanted:
            known = " or ".join(f"{count:,}" for count in sorted(wanted))
            yield f"dataset.{key} is {said:,}, and the official split has {known}"


def _share(record: RunRecord, card: TaskCard) -> Iterator[str]:
    """A share of the training images: the task's own, or one of the published lists."""
    data = record.dataset
    if data.subset is None:
        if card.dataset.subset is not None:
            yield f"dataset.subset: task {record.task} is on {card.dataset.subset} of the images"
        elif data.train_names is not None and not record.partial:
            yield "dataset.train_names: the training images were chosen by a list of one's own"
        return
    if data.subset.startswith(OWN):
        if data.subset != card.dataset.subset:
            yield f"dataset.subset is {data.subset}, which is no published list"
        return
    yield from _published(record, data.subset)


def _published(record: RunRecord, share: str) -> Iterator[str]:
    data = record.dataset
    lists = published_shares().get(data.kind, {})
    found = lists.get((share, -1 if data.subset_seed is None else data.subset_seed))
    if found is None:
        seeds = ", ".join(str(seed) for of, seed in sorted(lists) if of == share) or "no seed"
        yield (
            f"dataset.subset_seed is {data.subset_seed}, and lists {share} of {data.kind} are "
            f"published for {seeds}"
        )
    elif not found.is_of(data.train_names or ()) or data.n_train != found.count:
        yield f"dataset.train_names: not the {found.count} of the published list {found.path}"
