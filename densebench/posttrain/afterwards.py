"""Base and post-trained backbone on the same tasks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from densebench.backbones import card_for
from densebench.cards import find_backbone
from densebench.files.atomic import write_atomically
from densebench.host.device import pick_device
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.posttrain.model_card import README, Result, with_results
from densebench.posttrain.session import PosttrainOptions, load_base
from densebench.records.called import DEFAULT_RESULTS
from densebench.report.board.pairs import compare_backbones
from densebench.run.apart import Outcome
from densebench.run.matrix import matrix_table, run_matrix
from densebench.run.options import RunOptions

ABOUT = (
    "A difference is the new one's less the base's on the same images, each left out in turn; it "
    "is about other images, not about other seeds of the training. One seed each."
)


def check_base(options: PosttrainOptions, trained: str | None = None) -> None:
    """Nothing, if building the base again gives the same network.

    Args:
        options: of the training.
        trained: fingerprint of the network that was trained; None before it, to compare two builds.

    Raises:
        DensebenchError: it does not.
    """
    card = card_for(options.backbone, options.offline)
    if trained is None and card is not None and card.source != "python":
        return  # weights from a file are the same ones again
    device = pick_device(options.device)
    first = trained or load_base(options, device).fingerprint
    if load_base(options, device).fingerprint != first:
        raise DensebenchError(
            f"--then: {options.backbone} is built with other weights each time (they are drawn "
            "without a seed, or its code or file has changed), so its score would not be that of "
            "the base that was trained; seed it with torch.manual_seed, or give --weights FILE"
        )


def compared(
    options: PosttrainOptions,
    tasks: Sequence[str],
    results: Path | None,
    data_root: Path | None,
    limit: int | None,
    watcher: Watcher,
) -> Table:
    """Run both on every task, and set them side by side; runs that exist are read.

    The model card has them too from then on, with their paired differences.

    Raises:
        DensebenchError: the base is not the one that was trained, or a run failed; the others are
            recorded.
    """
    made = find_backbone(options.folder / f"{options.name}.toml").card.training
    check_base(options, made.base_fingerprint if made else None)
    base = RunOptions(
        options.backbone,
        tasks[0],
        weights=options.weights,
        random_weights=options.random_weights,
        data_root=data_root,
        limit=limit,
        device=options.device,
        offline=options.offline,
        results=results or DEFAULT_RESULTS,
    )
    outcomes = run_matrix(base, [options.backbone], tasks, [base.seed], watcher)
    new = replace(base, backbone=options.name, weights=None, random_weights=None)
    outcomes += run_matrix(new, [options.name], tasks, [base.seed], watcher)
    failed = [f"{outcome.run}: {outcome.reason}" for outcome in outcomes if outcome.record is None]
    if failed:
        raise DensebenchError("; ".join(failed))
    pairs = zip(outcomes[: len(tasks)], outcomes[len(tasks) :], strict=True)
    rows = [_result(*pair, base.results) for pair in pairs]
    file, name = options.folder / README, made.base if made else options.backbone
    write_atomically(file, with_results(file.read_text("utf-8"), options.name, name, rows, ABOUT))
    return matrix_table(outcomes)


def _result(before: Outcome, after: Outcome, results: Path) -> Result:
    """One task of both."""
    assert before.record is not None and after.record is not None
    record, metric = after.record, after.record.score.main
    old, new = (metric.text(r.score.main.value) for r in (before.record, record))
    images = f" ({record.limit} images of each split)" * bool(record.partial)
    title = f"{metric.title} {metric.unit}".strip()
    try:
        found = compare_backbones(str(after.path), str(before.path), None, "", results, True)
    except DensebenchError as error:
        return Result(record.task + images, title, old, new, str(error), "")
    numbers = found.comparison
    difference, low, high = (
        metric.text(value, sign=True) for value in (numbers.difference, numbers.low, numbers.high)
    )
    p = f"{numbers.p:.3f}" if numbers.p >= 0.001 else "< 0.001"
    return Result(record.task + images, title, old, new, f"{difference} [{low}, {high}]", p)
