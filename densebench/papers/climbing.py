"""One backbone on every rung of a ladder: what each scores, and what each change is worth."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from densebench.cards import Found, LadderCard, QuotedNumber, find_ladder, suggestion
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.measures.steps import Scored, compare_rules
from densebench.records.ladders import LadderRecord, RungRecord, StepRecord, save_ladder
from densebench.records.schema import RunRecord
from densebench.records.store import load_evidence
from densebench.report.board.published import load_published
from densebench.run import done
from densebench.run.apart import Outcome, run_apart
from densebench.run.options import RunOptions, check_count
from densebench.run.rungs import Rung, plan_rungs, shown_changes

ENDING = "_ladder"


def ladder_of(dataset: str) -> Found[LadderCard]:
    """The ladder of a dataset, or the one in a card of one's own.

    Raises:
        DensebenchError: there is none.
    """
    return find_ladder(dataset if dataset.endswith(".toml") else dataset + ENDING)


def plan_ladder(dataset: str, base: RunOptions) -> LadderRecord:
    """Every rung, with what the records that are there tell of it; runs nothing.

    Args:
        dataset: that has a ladder, or a ladder card's path.
        base: the backbone, and how to run; its task, variant and parameters mean nothing.

    Raises:
        DensebenchError: no such ladder or backbone, or rungs that differ in more than they say.
    """
    ladder, rungs = _planned(dataset, base)
    return _record(ladder, rungs, base, [_recalled(rung) for rung in rungs])


def climb(dataset: str, base: RunOptions, watcher: Watcher, until: str = "") -> LadderRecord:
    """Run every rung, each in a process of its own, and leave the ladder beside the records.

    A run whose record is there is read. A rung that fails, or is not for this backbone, says why,
    and the others go on. Those after ``until``, if it is given, are read and not run.

    Raises:
        DensebenchError: as ``plan_ladder``, or there is no rung of that name.
    """
    ladder, rungs = _planned(dataset, base)
    wanted = _until(ladder, until)
    outcomes: list[Outcome] = []
    for number, rung in enumerate(rungs[:wanted], start=1):
        watcher.say(f"[{number}/{wanted}] {rung.card.name}")
        same = [o for r, o in zip(rungs, outcomes, strict=False) if r.options == rung.options]
        outcomes.append(same[0] if same else run_apart(rung.options, watcher))
        if outcomes[-1].interrupted:
            raise KeyboardInterrupt
    outcomes += [_recalled(rung) for rung in rungs[wanted:]]
    record = _record(ladder, rungs, base, outcomes)
    save_ladder(record, base.results)
    return record


def _planned(dataset: str, base: RunOptions) -> tuple[Found[LadderCard], list[Rung]]:
    from densebench.run.jobs import check_names

    if base.limit is not None:
        check_count("--limit", base.limit, least=1)
    ladder = ladder_of(dataset)
    check_names([base.backbone], [])
    return ladder, plan_rungs(ladder, base)


def _until(ladder: Found[LadderCard], name: str) -> int:
    """How many rungs there are up to one; all of them where none is named."""
    names = [rung.name for rung in ladder.card.rung]
    if not name:
        return len(names)
    if name not in names:
        raise DensebenchError(
            f"{ladder.file}: has no rung {name!r}{suggestion(name, names)}; `--dry-run` shows them"
        )
    return names.index(name) + 1


def _recalled(rung: Rung) -> Outcome:
    known = done.recall(replace(rung.options, overwrite=False))
    return Outcome(rung.options, *(known or (None, None)))


def _record(
    ladder: Found[LadderCard],
    rungs: Sequence[Rung],
    base: RunOptions,
    outcomes: Sequence[Outcome],
) -> LadderRecord:
    names = {o.record.backbone.name for o in outcomes if o.record}
    scored = [_scored(outcome) for outcome in outcomes]
    return LadderRecord(
        ladder=ladder.card.name,
        description=ladder.card.description,
        backbone=names.pop() if names else Path(base.backbone).name,
        seed=base.seed,
        partial=base.limit is not None,
        rungs=tuple(
            _rung(
                rung,
                rungs[number - 1] if number else None,
                outcome,
                _step(scored[number - 1], scored[number]) if number else None,
                base.results,
            )
            for number, (rung, outcome) in enumerate(zip(rungs, outcomes, strict=True))
        ),
    )


def _scored(outcome: Outcome) -> Scored | None:
    """Evidence and metric of a run that is there."""
    if outcome.record is None or outcome.path is None:
        return None
    evidence, metric = load_evidence(outcome.path, outcome.record), outcome.record.score.main.metric
    if evidence is None or metric is None:
        raise DensebenchError(
            f"{outcome.path}: has no evidence beside it to compare; repeat the run with --overwrite"
        )
    return evidence, metric


def _step(before: Scored | None, after: Scored | None) -> StepRecord | None:
    if before is None or after is None:
        return None
    return StepRecord(**asdict(compare_rules(after, before)))


def _rung(
    rung: Rung, before: Rung | None, outcome: Outcome, step: StepRecord | None, results: Path
) -> RungRecord:
    card, record = rung.card, outcome.record
    found: dict[str, Any] = {"published": card.published}
    if record is not None and outcome.path is not None:
        found |= {
            "resolution": record.score.resolution,
            "metric": record.score.main,
            "run_id": record.run_id,
            "record": outcome.path.relative_to(results).as_posix(),
            "published": (*card.published, *_quoted(record)),
        }
    return RungRecord(
        name=card.name,
        protocol=rung.facts["protocol"],
        task=card.task,
        variant=card.variant,
        factor=card.factor,
        changes=card.changes,
        told=tuple(shown_changes(before, rung)) if before else (),
        step=step,
        failed="" if outcome.unsuited else outcome.reason,
        skipped=outcome.reason if outcome.unsuited else "",
        **found,
    )


def _quoted(record: RunRecord) -> list[QuotedNumber]:
    """The published numbers of that very run."""
    return [
        QuotedNumber(backbone=number.backbone, value=number.value, source=number.told)
        for number in load_published()
        if number.fits(record)
    ]
