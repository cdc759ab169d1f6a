"""Every array that the published code left is read by some test, or is said to be waiting."""

import fnmatch
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

TESTS = Path(__file__).parent
KEPT = TESTS / "golden"
SHARED = TESTS.parents[1] / "shared" / "goldens"
READER = re.compile(r"\b(?:golden|full_golden|official|every_golden)\b")

# Of what is not built yet.
PENDING: dict[str, str] = {}
# Patterns of keys that hold nothing to compare with.
NOT_NEEDED = {
    "hbird_masks/*_names": "which photographs the masks are of",
    "metrics/*/linear_probe/bg": "no matching, hence a constant",
    "metrics/g6p15*/linear_probe/*": "more predictions than classes without a matching: refused",
}


def files() -> list[Path]:
    """The golden files of what is built, those kept with the tests first."""
    every = [*sorted(KEPT.glob("*.npz")), *sorted(SHARED.glob("*.npz"))]
    return [file for file in every if not any(fnmatch.fnmatch(file.stem, p) for p in PENDING)]


def is_needed(name: str, key: str) -> bool:
    return not any(fnmatch.fnmatch(f"{name}/{key}", pattern) for pattern in NOT_NEEDED)


def readers() -> list[str]:
    return [
        str(file)
        for file in sorted(TESTS.rglob("test_*.py"))
        if file != Path(__file__) and READER.search(file.read_text(encoding="utf-8"))
    ]


def test_what_is_pending_is_really_there() -> None:
    if not SHARED.is_dir():
        pytest.skip("the complete golden arrays (../shared/goldens) are not here")
    names = [file.stem for file in SHARED.glob("*.npz")]
    assert all(fnmatch.filter(names, pattern) for pattern in PENDING)


@pytest.mark.slow
def test_every_key_of_every_golden_is_read_by_some_test(tmp_path: Path) -> None:
    """What is read is recorded while the tests run, so that no form of a key can hide from it."""
    kept = tmp_path / "reads.tsv"
    call = [sys.executable, "-m", "pytest", "-n", "0", "--dist", "no", "-m", "not published"]
    environment = {**os.environ, "GOLDEN_READS": str(kept)}
    done = subprocess.run(
        [*call, *readers()], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    read: dict[str, set[str]] = defaultdict(set)
    for line in kept.read_text(encoding="utf-8").splitlines():
        name, _, key = line.partition("\t")
        read[name].add(key)
    unread = {}
    for file in files():
        with np.load(file) as arrays:
            keys = {key for key in arrays if is_needed(file.stem, key)} - read[file.stem]
        if keys:
            unread[f"{file.parent.name}/{file.name}"] = sorted(keys)
    assert not unread
