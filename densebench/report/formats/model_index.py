"""A backbone's results as the ``model-index`` of a Hugging Face model card.

Format: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from typing import TYPE_CHECKING, Any

from densebench.cards import suggestion
from densebench.host.errors import DensebenchError
from densebench.records.identity import seeds
from densebench.report.board.board import Board, Table
from densebench.report.board.rows import Row, interval_over

if TYPE_CHECKING:
    from huggingface_hub import EvalResult


def model_index(board: Board, backbone: str) -> str:
    """The front matter of a model card: every table's result of a backbone, in per cent.

    Raises:
        DensebenchError: no table has the backbone.
    """
    from huggingface_hub import ModelCardData

    found = [
        (table, row)
        for table in board.tables
        for row in table.rows
        if backbone in {record.backbone.name for _, record in row.found}
    ]
    if not found:
        rows = [row for table in board.tables for row in table.rows]
        known = sorted({record.backbone.name for row in rows for _, record in row.found})
        raise DensebenchError(
            f"no record of '{backbone}'{suggestion(backbone, known)}; there are records of "
            f"{', '.join(known) or 'none'}"
        )
    results = [result for table, row in found for result in _results(table, row)]
    card = ModelCardData(model_name=backbone, eval_results=results)
    return f"---\n{card.to_yaml()}\n---\n"


def _results(table: Table, row: Row) -> "list[EvalResult]":
    """Both metrics of one row."""
    from huggingface_hub import EvalResult

    data, protocol = row.record.dataset, row.record.protocol
    common: dict[str, Any] = {
        "task_type": "image-segmentation",
        "task_name": f"{table.title} ({protocol.name})",
        "dataset_type": data.kind,
        "dataset_name": f"{data.kind}, {data.n_val} validation images",
        "dataset_config": f"{table.title}, protocol {protocol.hash[:12]}, {row.record.precision}",
        "dataset_split": "validation",
        "dataset_revision": data.fingerprint,
    }
    spread = _spread(row)
    return [
        EvalResult(
            metric_type="mean_iou",
            metric_name="mIoU, per cent",
            metric_value=round(100 * row.miou, 2),
            metric_args=spread,
            **common,
        ),
        EvalResult(
            metric_type="accuracy",
            metric_name="pixel accuracy, per cent",
            metric_value=round(100 * row.pixel_accuracy, 2),
            **common,
        ),
    ]


def _spread(row: Row) -> dict[str, Any]:
    """How sure the number is, and what must be said of it."""
    spread: dict[str, Any] = {"seeds": [seeds(record)[-1] for _, record in row.found]}
    if row.deviation is not None:
        spread["deviation"] = round(100 * row.deviation, 2)
        spread["deviation_over"] = row.spread
    elif (found := row.interval) is not None and found.low is not None and found.high is not None:
        spread["interval_95"] = [round(100 * found.low, 2), round(100 * found.high, 2)]
        spread["interval_over"] = interval_over(row.record)
    if row.standing is not None:
        spread["better_than"] = len(row.standing.better_than)
        spread["worse_than"] = len(row.standing.worse_than)
    if row.remarks:
        spread["remarks"] = [remark.sentence for remark in row.remarks]
    return spread
