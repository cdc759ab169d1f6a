"""A backbone's results as the ``model-index`` of a Hugging Face model card.

Format: https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

from typing import TYPE_CHECKING, Any

from densebench.cards import suggestion
from densebench.errors import DensebenchError
from densebench.report.tables import Board, Row, Table

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
        if row.record.backbone.name == backbone
    ]
    if not found:
        known = sorted({row.record.backbone.name for t in board.tables for row in t.rows})
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
    interval = row.record.score.interval
    spread: dict[str, Any] = {"seeds": [record.seed for _, record in row.found]}
    if row.deviation is None:
        spread["interval_95"] = [round(100 * interval.low, 2), round(100 * interval.high, 2)]
    else:
        spread["deviation"] = round(100 * row.deviation, 2)
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
