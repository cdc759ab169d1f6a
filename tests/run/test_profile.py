"""What `densebench profile` measures, against hand counts and known sizes."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from densebench.features.precision import Precision
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.store import load_profiles, load_records, save_record
from densebench.run import profile
from densebench.run.profile import Meter, ProfileOptions, profile_backbone

pytestmark = pytest.mark.usefixtures("own_places")

PLUGIN = """
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Attending(nn.Module):
    patch_size, embed_dim = 14, 8

    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, 8, 14, stride=14)
        self.qkv = nn.Linear(8, 24, bias=False)

    def forward(self, images):
        patches = self.proj(images)
        b, d, h, w = patches.shape
        q, k, v = self.qkv(patches.flatten(2).mT).chunk(3, dim=-1)
        return scaled_dot_product_attention(q[:, None], k[:, None], v[:, None]).reshape(b, h, w, d)


def attending():
    print("printed by the plug-in")
    torch.manual_seed(0)
    return Attending()
"""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.05)


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    (tmp_path / "attending.py").write_text(PLUGIN)
    return f"{tmp_path / 'attending.py'}:attending"


class Ear(Watcher):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def measured(backbone: str, tmp_path: Path, **options: Any) -> Any:
    ear = Ear()
    wanted = ProfileOptions(backbone, device="cpu", results=tmp_path / "results", **options)
    record, path = profile_backbone(wanted, ear)
    assert ear.lines
    assert [(path, record)] == load_profiles(tmp_path / "results")
    return record


class Slow(torch.nn.Module):
    """Takes a known time and memory."""

    name, patch_size, embed_dim = "slow", 14, 3

    def __init__(self, seconds: float = 0.0, megabytes: int = 0) -> None:
        super().__init__()
        self.seconds, self.megabytes, self.batches = seconds, megabytes, []  # type: ignore

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        held = torch.ones(self.megabytes * 10**6, dtype=torch.uint8)
        time.sleep(self.seconds * len(images))
        return torch.nn.functional.avg_pool2d(images, 14).permute(0, 2, 3, 1) + held[:0].sum()


def meter(backbone: Any, precision: Precision = "fp32") -> Meter:
    return Meter(backbone, 28, torch.device("cpu"), precision)


class TestNumbers:
    def test_operations_by_hand(self, plugin: str, tmp_path: Path) -> None:
        record = measured(plugin, tmp_path, size=28)
        patches, dim = 4, 8
        convolution = patches * dim * 3 * 14 * 14
        attention = patches * dim * 3 * dim + 2 * patches * patches * dim
        assert record.gflops * 1e9 == pytest.approx(2 * (convolution + attention))
        assert record.parameters == 3 * 14 * 14 * 8 + 8 + 8 * 24

    def test_operations_grow_with_the_input(self, plugin: str, tmp_path: Path) -> None:
        small = meter_of(plugin, 28).gflops()
        large = meter_of(plugin, 56).gflops()
        patches, dim = 16, 8
        wanted = patches * dim * 3 * 14 * 14 + patches * dim * 3 * dim + 2 * patches**2 * dim
        assert large * 1e9 == pytest.approx(2 * wanted)
        assert large > 4 * small

    def test_times(self) -> None:
        backbone = Slow(seconds=0.01)
        times = meter(backbone).seconds(2)
        assert backbone.batches == [2] * (profile.WARM_UP + len(times))
        assert len(times) >= profile.FEWEST
        assert all(0.02 <= seconds < 0.2 for seconds in times)

    def test_a_quick_backbone_is_measured_for_the_whole_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(profile, "SECONDS", 1e9)
        assert len(meter(Slow()).seconds(1)) == profile.MOST

    def test_memory_above_what_is_loaded(self) -> None:
        rss, cuda = meter(Slow(seconds=0.03, megabytes=100)).peak_memory(1)
        assert cuda is None
        assert rss is not None
        assert 0.9e8 < rss < 1.6e8

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
    def test_on_a_gpu(self, plugin: str, tmp_path: Path) -> None:
        options = ProfileOptions(plugin, size=28, device="cuda", results=tmp_path)
        record, _ = profile_backbone(options)
        assert record.device.startswith("cuda (")
        assert record.peak_rss_bytes is None
        assert record.peak_cuda_bytes is not None
        assert record.peak_cuda_bytes > 16 * 3 * 28 * 28 * 4


def meter_of(plugin: str, size: int) -> Meter:
    from densebench.backbones import load_backbone

    return Meter(load_backbone(plugin), size, torch.device("cpu"), "fp32")


class TestRecords:
    def test_says_on_what_and_how(self, tmp_path: Path) -> None:
        record = measured("rgb_s14", tmp_path, size=28, batch_size=3, precision="bf16")
        assert (record.size, record.batch_size, record.precision) == (28, 3, "bf16")
        assert record.device.startswith("cpu (")
        assert f"{torch.get_num_threads()} threads" in record.device
        assert record.images_per_second > 0
        assert 0 < record.latency_median <= record.latency_p95
        assert record.peak_rss_bytes is not None
        assert "torch" in record.versions

    def test_at_a_tasks_size_or_else_the_largest_usual(
        self, tmp_path: Path, tiny_task: Path, plugin: str
    ) -> None:
        assert measured(plugin, tmp_path, task=str(tiny_task)).size == 28
        options = ProfileOptions("rgb_s14", device="cpu", results=tmp_path / "other")
        record, path = profile_backbone(options)
        assert record.size == 518
        assert path.name.endswith("-518-fp32.profile.json")

    def test_another_measurement_replaces_it_and_run_records_do_not_mind(
        self, tmp_path: Path, tiny_record: Any
    ) -> None:
        measured("rgb_s14", tmp_path, size=28)
        measured("rgb_s14", tmp_path, size=28, batch_size=2)
        path = save_record(tiny_record, tmp_path / "results")
        assert load_records(tmp_path / "results") == [(path, tiny_record)]

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"size": 30}, "take 28 or 42"),
            ({"size": 28, "task": "scenes_linear"}, "--task or --size, not both"),
            ({"task": "scenes_linar"}, "did you mean 'scenes_linear'"),
        ],
    )
    def test_bad_input(self, tmp_path: Path, options: dict[str, Any], told: str) -> None:
        with pytest.raises(DensebenchError, match=told):
            measured("rgb_s14", tmp_path, **options)
        assert not (tmp_path / "results").exists()

    def test_a_batch_that_the_gpu_cannot_hold(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        monkeypatch.setattr(Meter, "peak_memory", full)
        with pytest.raises(DensebenchError, match="a smaller --batch-size"):
            measured("rgb_s14", tmp_path, size=28)
        assert not (tmp_path / "results").exists()


def test_the_command_prints_the_record_alone(plugin: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "densebench.cli", "profile", "--backbone", plugin]
    command += ["--size", "28", "--device", "cpu", "--batch-size", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["backbone"] == "attending.py:attending"
    (path,) = Path("leaderboard/results/attending.py_attending/profiles").iterdir()
    assert json.loads(path.read_text()) == record
    assert "printed by the plug-in" in done.stderr
    assert "latency of one image" in done.stderr
