"""What a sweep will take, where profiles tell."""

from dataclasses import replace
from pathlib import Path

import pytest

from densebench.records.schema import ProfileRecord
from densebench.records.store import save_profile
from densebench.run.options import RunOptions
from densebench.run.sweep.estimates import Estimate, estimates, total

WIDTH = 6  # of a patch of rgb_s14
PROFILE = ProfileRecord(
    created="2025-01-01T00:00:00+00:00",
    backbone="rgb_s14",
    fingerprint="0" * 64,
    parameters=0,
    size=28,
    precision="fp32",
    device="cpu (one, 1 threads, linux)",
    batch_size=16,
    images_per_second=2.0,
    latency_median=0.1,
    latency_p95=0.1,
    gflops=0.0,
    peak_rss_bytes=1000,
    peak_cuda_bytes=None,
    versions={},
)


@pytest.fixture
def run(tiny_task: Path, tmp_path: Path) -> RunOptions:
    """Four training and two validation images of 28 pixels, two patches of 14 each way."""
    save_profile(PROFILE, tmp_path)
    return RunOptions("rgb_s14", str(tiny_task), results=tmp_path, device="cpu")


def test_hours_and_bytes(run: RunOptions) -> None:
    (found,) = estimates([run])
    assert found.images == 6
    assert found.hours == pytest.approx(6 / 2.0 / 3600)  # each goes through the backbone once
    values = 28 * 28  # of the mask
    assert found.features == 6 * (2 * 2 * WIDTH * 4 + values)
    assert found.memory is not None and found.memory > 1000
    assert (found.device, found.unknown) == (PROFILE.device, "")


def test_views_that_are_not_kept_go_through_it_every_time(run: RunOptions) -> None:
    linear = replace(run, task=str(Path(run.task).with_name("linear.toml")))
    (kept,) = estimates([linear])
    assert kept.hours == pytest.approx((4 * 2 + 2) / 2.0 / 3600)  # two epochs
    (off,) = estimates([replace(linear, cache="off")])
    assert off.hours == pytest.approx((4 * 2 + 2 * 3) / 2.0 / 3600)  # validated after each too
    assert off.features == 0


def test_parts_of_the_images(run: RunOptions) -> None:
    halved, limited = estimates([replace(run, subset="own:1/2"), replace(run, limit=1)])
    assert (halved.images, limited.images) == (4, 2)


def test_the_newest_profile_of_the_device_that_is_asked_for(
    run: RunOptions, tmp_path: Path
) -> None:
    gpu = {"device": "cuda (fast)", "created": "2025-02-01", "images_per_second": 100.0}
    save_profile(PROFILE.model_copy(update=gpu), tmp_path)
    assert [e.device for e in estimates([run])] == [PROFILE.device]
    assert [e.device for e in estimates([replace(run, device="cuda:1")])] == ["cuda (fast)"]
    assert [e.device for e in estimates([replace(run, device="auto")])] == ["cuda (fast)"]


def test_what_is_not_known_is_said(run: RunOptions, tmp_path: Path) -> None:
    (other,) = estimates([replace(run, backbone="hog_s14")])
    assert (other.images, other.hours, other.memory) == (6, None, None)
    assert other.features is not None
    assert other.unknown.startswith("no profile of hog_s14 at 28x28 in fp32: densebench profile")
    (absent,) = estimates([replace(run, data_root=tmp_path / "absent")])
    assert absent.images is None and "absent" in absent.unknown
    (tmp_path / "mine.py").touch()
    (plugin,) = estimates([replace(run, backbone=f"{tmp_path}/mine.py:make")])
    assert plugin.images == 6 and "is known when it is loaded" in plugin.unknown


def test_a_total_is_of_what_is_known() -> None:
    parts = [Estimate(4, 1.0, 10, 100), Estimate(6, None, 20, None), Estimate(2, 0.5, None, 50)]
    assert total(parts) == Estimate(12, 1.5, 30, 100)
    assert total([Estimate()]) == Estimate(0)
