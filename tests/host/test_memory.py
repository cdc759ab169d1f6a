from pathlib import Path

import numpy as np
import psutil
import pytest

from densebench.host import memory
from densebench.host.errors import DensebenchError

GB = 10**9


@pytest.fixture(autouse=True)
def no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENSEBENCH_MEMORY", raising=False)


class TestAvailable:
    def test_is_at_most_what_the_machine_has(self) -> None:
        assert 0 < memory.available_bytes() <= psutil.virtual_memory().total

    def test_the_setting_lowers_it_and_never_raises_it(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("DENSEBENCH_MEMORY", "1000")
        assert memory.available_bytes() == 1000
        monkeypatch.setenv("DENSEBENCH_MEMORY", str(10**18))
        assert memory.available_bytes() <= psutil.virtual_memory().total

    @pytest.mark.parametrize("text", ["much", "", "-5", "1e9", "4 GB", "²"])
    def test_a_setting_that_is_no_number(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("DENSEBENCH_MEMORY", text)
        with pytest.raises(DensebenchError) as caught:
            memory.available_bytes()
        assert str(caught.value) == f"DENSEBENCH_MEMORY must be a number of bytes, not '{text}'"


class TestContainers:
    """A container's own limit counts; files that the kernel caches for it give way."""

    def group(self, folder: Path, limit: str, usage: int, prefix: str) -> tuple[str, str]:
        (folder / "limit").write_text(f"{limit}\n")
        (folder / "usage").write_text(f"{usage}\n")
        lines = [f"{prefix}active_file 300", f"{prefix}inactive_file 200", "anon 77", "shmem 9"]
        (folder / "memory.stat").write_text("\n".join(lines) + "\n")
        return "limit", "usage"

    @pytest.mark.parametrize("prefix", ["", "total_"])
    def test_free_is_limit_less_usage_and_cached_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
    ) -> None:
        names = self.group(tmp_path, "5000", 4000, prefix)
        monkeypatch.setattr(memory, "CGROUPS", ((tmp_path, *names, prefix),))
        assert memory.available_bytes() == 5000 - 4000 + 500

    def test_no_limit_and_no_group(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        names = self.group(tmp_path, "max", 4000, "")
        groups = ((tmp_path, *names, ""), (tmp_path / "none", *names, ""))
        monkeypatch.setattr(memory, "CGROUPS", groups)
        assert memory.available_bytes() > 10**6


class TestPlans:
    def test_one_that_fits_gives_its_sum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "available_bytes", lambda: 10)
        assert memory.require({"a": 4, "b": 6}, "advice") == 10
        assert memory.require({}, "advice") == 0

    def test_one_that_does_not_is_refused_with_its_largest_part(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "available_bytes", lambda: 3 * GB)
        plan = {"labels": GB, "features": 2 * GB, "queries": 1}
        with pytest.raises(DensebenchError) as caught:
            memory.require(plan, "take less")
        assert str(caught.value) == (
            "this run needs 3.00 GB more memory and 3.00 GB are free "
            "(the largest part, features: 2.00 GB); take less"
        )


def test_resident_bytes_follow_an_allocation() -> None:
    before, peak = memory.current_rss(), memory.peak_rss()
    held = np.ones(25_000_000)
    assert memory.current_rss() - before > 0.8 * held.nbytes
    assert memory.peak_rss() >= max(peak, memory.current_rss() - 10**6)


@pytest.mark.parametrize(
    ("n_bytes", "told"),
    [(0, "0.00 MB"), (1_500_000, "1.50 MB"), (10_000_000, "0.01 GB"), (2_345_678_901, "2.35 GB")],
)
def test_bytes_for_people(n_bytes: int, told: str) -> None:
    assert memory.gigabytes(n_bytes) == told
