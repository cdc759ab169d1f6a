"""What was measured, as a record says it."""

from pathlib import Path
from typing import Any

import pytest


def test_a_record_says_what_its_evidence_gives(
    kept_runs: dict[str, tuple[Any, Path]],
) -> None:
    from densebench.measures.jackknife import LEVEL
    from densebench.records.store import load_evidence

    record, path = kept_runs["rgb_s14"]
    main = record.score.main
    assert (main.name, main.title, main.unit, main.higher) == ("miou", "mIoU", "%", True)
    assert main.value == pytest.approx(sum(main.repeats) / len(main.repeats))
    assert main.interval.level == LEVEL
    assert main.interval.n == record.dataset.n_val == 4
    assert main.interval.over == "images"
    low, high = main.interval.low, main.interval.high
    assert low is None or low <= main.value <= high
    assert set(record.score.classes) == {"red", "green", "blue"}
    assert load_evidence(path, record) is not None
