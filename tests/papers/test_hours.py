"""How long a row will take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.papers.planned import plan_reproduction
from densebench.records.schema import ProfileRecord, RunRecord
from densebench.records.store import save_profile, save_record
from densebench.report.board.reproduced import Reproduction
from densebench.report.formats.reproduction import (
    reproduction_page,
)
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")


class TestHours:
    def test_from_a_shorter_run_of_its_own(
        self, suite: Callable[..., Path], tiny_record: RunRecord
    ) -> None:
        values = tiny_record.model_dump() | {"partial": True, "seconds": {"fit": 1800.0}}
        values["dataset"] |= {"n_train": 2, "n_val": 1}
        save_record(RunRecord.model_validate(values), Path("kept"))
        rows = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert [row.hours for row in rows] == [pytest.approx(1.0), None]  # six images, not three

    def test_from_another_backbones_run_and_profiles_of_both(
        self, suite: Callable[..., Path], tiny_record: RunRecord
    ) -> None:
        record = tiny_record.model_copy(update={"seconds": {"fit": 3600.0}})
        save_record(record, Path("kept"))
        for name, rate in (("rgb_s14", 50.0), ("hog_s14", 10.0)):
            save_profile(profile(record, backbone=name, images_per_second=rate), Path("kept"))
        rows = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert [row.hours for row in rows] == [pytest.approx(1.0), pytest.approx(5.0)]
        save_profile(
            profile(record, backbone="hog_s14", images_per_second=1.0, size=280), Path("kept")
        )
        again = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert again[1].hours == pytest.approx(5.0)
        page = reproduction_page(Reproduction("tiny", "two", "A paper", again), Path())
        assert "~5.00" in page and "| 1.00 |" in page


def profile(record: RunRecord, **changes: Any) -> ProfileRecord:
    values = {
        "created": record.created,
        "backbone": record.backbone.name,
        "fingerprint": record.backbone.fingerprint,
        "parameters": 0,
        "size": record.protocol.input_size,
        "precision": "fp32",
        "device": "cpu (some)",
        "batch_size": 16,
        "images_per_second": 1.0,
        "latency_median": 0.01,
        "latency_p95": 0.02,
        "gflops": 6.78,
        "peak_rss_bytes": 1000,
        "peak_cuda_bytes": None,
        "versions": {},
    }
    return ProfileRecord.model_validate({**values, **changes})
