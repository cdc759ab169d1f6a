"""What `make bench-gpu` would measure is listed without a GPU, and done in a tiny size."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "benchmarks.gpu"]


@pytest.fixture(autouse=True)
def beside_the_benchmarks():
    if not (ROOT / "benchmarks" / "gpu.py").is_file():
        pytest.skip("benchmarks/ is not beside the tests")


def done(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_each_is_listed_with_its_limit_and_formula() -> None:
    found = done(*COMMAND, "--dry-run")
    assert found.returncode == 0, found.stderr
    names = re.findall(r"^(\w+): ", found.stdout, re.MULTILINE)
    assert {"search", "search_host", "head", "k_means", "moments", "soft_sort", "neco"} < set(names)
    formulas = re.findall(r"^  formula: .", found.stdout, re.MULTILINE)
    limits = re.findall(r"^  limit: ([0-9.e-]+) s; takes at most", found.stdout, re.MULTILINE)
    assert names[-1] == "tests"
    assert len(formulas) == len(limits) == len(names) - 1
    assert all(float(limit) > 0 for limit in limits)
    together = re.search(r"^together at most (\d+) min$", found.stdout, re.MULTILINE)
    assert together is not None
    assert int(together[1]) < 25


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_dry_run_of_make_lists_the_same() -> None:
    found = done("make", "bench-gpu", "--dry-run")
    assert found.returncode == 0, found.stderr
    assert "search: 30 nearest of 10,240,000 rows of width 768" in found.stdout
    assert "together at most" in found.stdout


@pytest.mark.slow
def test_all_of_it_in_a_tiny_size(tmp_path: Path) -> None:
    found = done(*COMMAND, "--tiny", "--out", str(tmp_path))
    assert found.returncode == 0, found.stderr
    listed = re.findall(r"^(\w+): ", done(*COMMAND, "--tiny", "--dry-run").stdout, re.MULTILINE)
    assert {file.stem for file in tmp_path.glob("gpu_*.md")} == {f"gpu_{name}" for name in listed}
    for file in tmp_path.glob("gpu_*.md"):
        assert re.search(r"^\| densebench \| [0-9.e-]+ \|", file.read_text(), re.MULTILINE), file


@pytest.mark.slow
def test_what_is_not_there_is_told() -> None:
    found = done(*COMMAND, "--only", "heads")
    assert found.returncode == 1
    assert found.stderr == "no measurement heads; --dry-run lists them\n"
