"""The rows of a published table, run or read, beside the published numbers.

What is missing is known before anything starts. Runs go through the matrix, one process each; a run
whose record exists is read, also where its data and weights no longer are.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from densebench.backbones import card_for
from densebench.backbones.weights.inventory import weights_state
from densebench.cards import BackboneCard, TaskCard, find_suite, find_task
from densebench.cards.suites import PREFIX, suite_members
from densebench.datasets import Dataset, load_dataset
from densebench.datasets.roots import MissingDatasetError
from densebench.host.errors import DensebenchError
from densebench.host.paths import data_home
from densebench.host.watcher import Watcher
from densebench.papers.hours import estimated_hours
from densebench.papers.known import Kept, SuiteTask, is_whole, records_like
from densebench.prepare.sources import official_table
from densebench.protocols import task_params
from densebench.records.store import load_profiles, load_records
from densebench.report.board.published import PublishedNumber, load_published
from densebench.report.board.reproduced import Missing, ReproducedRow, Reproduction
from densebench.run.apart import Outcome
from densebench.run.matrix import run_matrix
from densebench.run.options import RunOptions


def plan_reproduction(suite: str, base: RunOptions) -> Reproduction:
    """The table of a suite as far as records exist, with what every other row lacks.

    Loads no weights and reads no image.

    Args:
        suite: A suite card's name or path.
        base: How to run: results, data, device, batch size. Its backbone and task mean nothing.

    Raises:
        DensebenchError: no such suite, or a task or backbone of it does not exist.
    """
    suite = suite.removeprefix(PREFIX)
    card = find_suite(suite).card
    tasks = [_examined(name, base.data_root) for name in suite_members(suite, "tasks")]
    backbones = suite_members(suite, "backbones")
    kept = _kept(base.results)
    numbers = [n for n in load_published() if n.source.startswith(card.source) and n.subset is None]
    rows = [_row(task, backbone, base, kept, numbers) for task in tasks for backbone in backbones]
    return Reproduction(card.name, card.description, card.source, tuple(rows))


def run_reproduction(planned: Reproduction, base: RunOptions, watcher: Watcher) -> Reproduction:
    """Run what a plan has ready, task by task; a run that fails becomes a row that says why."""
    done: dict[tuple[str, str], Outcome] = {}
    for task in dict.fromkeys(row.task for row in planned.rows):
        ready = [row.backbone for row in planned.rows if row.task == task and row.ready]
        if ready:
            outcomes = run_matrix(base, ready, [task], [base.seed], watcher)
            done |= {(task, o.options.backbone): o for o in outcomes}
    rows = [_filled(row, done.get((row.task, row.backbone))) for row in planned.rows]
    return replace(planned, rows=tuple(rows))


def _filled(row: ReproducedRow, outcome: Outcome | None) -> ReproducedRow:
    if outcome is None:
        return row
    if outcome.record is None or outcome.path is None:
        return replace(row, failed=outcome.reason)
    return replace(row, found=(outcome.path, outcome.record))


def _kept(results: Path) -> Kept:
    if not results.is_dir():
        return Kept([], [])
    return Kept(load_records(results), [profile for _, profile in load_profiles(results)])


def _examined(name: str, data_root: Path | None) -> SuiteTask:
    found = find_task(name)
    card, file = found.card, found.file
    task_params(card, str(file))
    try:
        dataset = load_dataset(card.dataset, card_path=file, data_root=data_root)
    except DensebenchError as error:
        return SuiteTask(name, card, file, None, _missing_data(card, data_root, error))
    return SuiteTask(name, card, file, _images(dataset), None)


def _images(dataset: Dataset) -> int:
    return len(dataset.train) + len(dataset.val)


def _missing_data(card: TaskCard, data_root: Path | None, error: DensebenchError) -> Missing:
    kind = card.dataset.kind
    if not isinstance(error, MissingDatasetError) or kind not in official_table().datasets:
        return Missing("data", str(error))
    place = data_root or data_home()
    return Missing("data", f"{kind} in {place}", f"densebench data prepare {kind} --root {place}")


def _row(
    task: SuiteTask,
    backbone: str,
    base: RunOptions,
    kept: Kept,
    numbers: Sequence[PublishedNumber],
) -> ReproducedRow:
    card = card_for(backbone)
    label = card.name if card is not None and backbone.endswith(".toml") else backbone
    row = ReproducedRow(
        task=task.name,
        backbone=backbone,
        task_name=task.card.name,
        label=label if card is not None else Path(backbone).name,
        published=tuple(
            n for n in numbers if (n.task, n.variant, n.backbone) == _place(task, base, label)
        ),
    )
    like = records_like(row, task, base, kept.records)
    whole = [(path, record) for path, record in like if is_whole(record, card, base)]
    if whole:
        return replace(row, found=max(whole, key=lambda found: found[1].created))
    missing = tuple(filter(None, (task.missing, _missing_weights(backbone, card, base))))
    return replace(row, missing=missing, estimate=estimated_hours(row, task, base, kept))


def _place(task: SuiteTask, base: RunOptions, label: str) -> tuple[str, str, str]:
    return task.card.name, base.variant, label


def _missing_weights(backbone: str, card: BackboneCard | None, base: RunOptions) -> Missing | None:
    if card is None or ":" in backbone:  # a plug-in has its own, timm and open_clip fetch theirs
        return None
    state = weights_state(backbone)
    if not state.source or state.path is not None:
        return None
    if state.is_own:
        return Missing("weights", f"weights of {card.name}: {state.source} beside its card")
    return Missing("weights", f"weights of {card.name}", f"densebench weights fetch {backbone}")
