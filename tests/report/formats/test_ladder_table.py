"""A ladder on the terminal."""

import io

from rich.console import Console

from densebench.cards import QuotedNumber
from densebench.records.ladders import LadderRecord, RungRecord, StepRecord
from densebench.records.schema import IntervalRecord, MetricScore
from densebench.report.formats.ladder_table import ladder_table, worth


def number(value: float) -> MetricScore:
    interval = IntervalRecord(low=value - 0.1, high=value + 0.1, level=0.95, n=9)
    return MetricScore(
        name="miou",
        title="mIoU",
        unit="%",
        scale=100,
        value=value,
        repeats=[value],
        interval=interval,
    )


def rung(name: str, **facts) -> RungRecord:
    known = {"protocol": "knn", "task": "t", "variant": "clean", "factor": "", "changes": ()}
    return RungRecord(**{"name": name, **known, "told": (), **facts})


STEP = StepRecord(difference=-0.05, low=-0.08, high=0.01, p=0.1, level=0.95, over="images", n=9)


def text(*rungs: RungRecord) -> str:
    found = LadderRecord(
        ladder="[l]", description="", backbone="b", seed=0, partial=False, rungs=rungs
    )
    file = io.StringIO()
    Console(file=file, width=160).print(ladder_table(found))
    return file.getvalue()


def test_a_row_tells_the_number_the_change_and_its_worth() -> None:
    second = rung(
        "two",
        metric=number(0.35),
        step=STEP,
        factor="mask size",
        changes=("mask_size",),
        told=("mask_size: 100 -> 448",),
    )
    shown = text(rung("one", metric=number(0.4)), second)
    assert worth(second) == "-5.00 (-8.00 to +1.00)"
    for part in ("b on [l]", "mIoU %", "40.00", "30.00 to 50.00", "mask size", "100 -> 448"):
        assert part in shown
    assert worth(second) in shown
    assert "published" not in shown.splitlines()[2]


def test_what_has_not_run_and_what_is_quoted() -> None:
    quoted = QuotedNumber(backbone="theirs", value=41.8, source="A paper")
    shown = text(
        rung("one", published=(quoted,)), rung("two", failed="no data"), rung("three", skipped="it")
    )
    for part in (
        "to run",
        "no data",
        "not for this backbone: it",
        "theirs 41.8",
        "A paper",
        "published",
    ):
        assert part in shown
