"""A backbone's results as the ``model-index`` of a Hugging Face model card.

Format: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from typing import TYPE_CHECKING, Any

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.records.identity import seeds
from densebench.records.schema import MetricScore
from densebench.report.board.board import Board
from densebench.report.board.columns import unit
from densebench.report.board.rows import Row, interval_over
from densebench.report.board.tables import Table

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


# How the hub names metrics that it knows; others go by their own names.
HUB_NAMES = {"miou": "mean_iou", "pixel_accuracy": "accuracy"}
CLASSES, OTHER = "image-segmentation", "other"  # kinds of task


def model_index(board: Board, backbone: str) -> str:
    """The front matter of a model card: every table's result of a backbone, in its unit.

    Raises:
        DensebenchError: no table has the backbone.
    """
    from huggingface_hub import ModelCardData

    found = results_of(board, backbone)
    results = [result for table, row in found for result in _results(table, row)]
    card = ModelCardData(model_name=backbone, eval_results=results)
    return f"---\n{card.to_yaml()}\n---\n"


def results_of(board: Board, backbone: str) -> list[tuple[Table, Row]]:
    """Every table that has a backbone, with its row.

    Raises:
        DensebenchError: no table has it, or its weights are drawn at random.
    """
    rows = [(table, row) for table in board.tables for row in table.rows]
    named = [(pair, {record.backbone.name for _, record in pair[1].found}) for pair in rows]
    found = [pair for pair, names in named if backbone in names]
    if not found:
        known = sorted({name for _, names in named for name in names})
        raise DensebenchError(
            f"no record of '{backbone}'{suggestion(backbone, known)}; there are records of "
            f"{', '.join(known) or 'none'}"
        )
    if any(row.record.backbone.random_weights is not None for _, row in found):
        raise DensebenchError(
            f"{backbone}: its weights are drawn at random, so that there are no results of a model"
        )
    return found


def _results(table: Table, row: Row) -> "list[EvalResult]":
    """All metrics of one row, the one that ranks with how sure it is."""
    from huggingface_hub import EvalResult

    data, protocol = row.record.dataset, row.record.protocol
    common: dict[str, Any] = {
        "task_type": CLASSES if row.record.score.classes else OTHER,
        "task_name": f"{table.title} ({protocol.name})",
        "dataset_type": data.kind,
        "dataset_name": f"{data.kind}, {data.n_val} validation images",
        "dataset_config": f"{table.title}, protocol {protocol.hash[:12]}, {row.record.precision}",
        "dataset_split": "validation",
        "dataset_revision": data.fingerprint,
    }
    return [
        EvalResult(
            metric_type=HUB_NAMES.get(metric.name, metric.name),
            metric_name=", ".join(filter(None, (metric.title, unit(metric)))),
            metric_value=rounded(metric, value),
            metric_args=_spread(row) if metric.name == table.metric.name else None,
            **common,
        )
        for metric in (table.metric, *table.others)
        if (value := row.of(metric.name)) is not None
    ]


def rounded(metric: MetricScore, value: float) -> float:
    """A value as it is printed, in the metric's unit."""
    return round(metric.scale * value, metric.decimals)


def _spread(row: Row) -> dict[str, Any]:
    """How sure the number is, and what must be said of it."""
    spread: dict[str, Any] = {"seeds": [seeds(record)[-1] for _, record in row.found]}
    if row.deviation is not None:
        spread["deviation"] = rounded(row.metric, row.deviation)
        spread["deviation_over"] = row.spread
    elif (found := row.interval) is not None and found.low is not None and found.high is not None:
        spread["interval_95"] = [rounded(row.metric, bound) for bound in (found.low, found.high)]
        spread["interval_over"] = interval_over(row.record)
    if row.standing is not None:
        spread["better_than"] = len(row.standing.better_than)
        spread["worse_than"] = len(row.standing.worse_than)
    if row.remarks:
        spread["remarks"] = [remark.sentence for remark in row.remarks]
    return spread
