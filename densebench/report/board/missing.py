"""Why a backbone has no number in a column of several tables side by side."""

from collections.abc import Sequence

from densebench.records.identity import RowKey, row_key
from densebench.records.schema import RunRecord
from densebench.report.board.shares import WHOLE, share_of
from densebench.report.board.tables import Table

NOT_RUN = "not run"
PARTIAL = "only a partial run"
OTHER_RULES = "only by another protocol or on other images"


def why_missing(
    key: RowKey, table: Table, tables: Sequence[Table], left_out: Sequence[RunRecord]
) -> str:
    """Why a row is not in a table, in a few words.

    Args:
        key: The row's.
        table: The one that lacks it.
        tables: All of the board.
        left_out: Partial runs, which the board does not show.
    """
    same = next((row for row in table.rows if row.key.name == key.name), None)
    if same is not None:
        return f"only as {same.label}, with other weights or another precision"
    elsewhere = [
        other
        for other in tables
        if (other.task, other.variant) == (table.task, table.variant)
        and any(row.key == key for row in other.rows)
    ]
    if elsewhere and not elsewhere[0].record.partial:
        share = share_of(elsewhere[0])
        return OTHER_RULES if share == WHOLE else f"only on {share} of the training images"
    partial = any(
        (record.task, record.protocol.variant) == (table.task, table.variant)
        and row_key(record) == key
        for record in left_out
    )
    return PARTIAL if partial or elsewhere else NOT_RUN
