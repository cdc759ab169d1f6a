"""Ctrl-C and SIGTERM while `torchrun` runs several processes: a line, and then the same run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.features.cache import FeatureCache
from densebench.records.store import load_record

from .conftest import facts
from .test_processes import LONGEST, VIT, command

HALT = """
import time
from pathlib import Path
first = Patches.forward
def forward(self, images):
    given = first(self, images)
    halts_at = int(os.environ.get("HALTS_AT", 0))
    if self.seen == halts_at:
        Path(os.environ["HALTED"], os.environ["RANK"]).touch()
        time.sleep(0.2 if os.environ["RANK"] == "0" else 1000)
    return given
Patches.forward = forward
"""
TOLD = "interrupted; run the same command again to go on"


@pytest.fixture
def halting(tmp_path: Path) -> str:
    (tmp_path / "vit.py").write_text(VIT + HALT)
    return f"{tmp_path / 'vit.py'}:build"


def torchrun(wanted: list[str], **environment: str) -> "subprocess.Popen[str]":
    start = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node=2"]
    return subprocess.Popen(
        [*start, *wanted],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=LONGEST)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(halted: Path, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + LONGEST
    while len([*halted.iterdir()]) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)  # until the first process waits for the second one


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("protocol", ["in_context", "linear"])
def test_it_ends_with_a_line_and_goes_on(
    protocol: str,
    number: signal.Signals,
    tasks: Path,
    tmp_path: Path,
    run: Callable[..., Any],
    halting: str,
) -> None:
    wanted = command(tasks / f"{protocol}.toml", tmp_path / "results", backbone=halting)
    halted, cache = tmp_path / "halted", str(tmp_path / "cache")
    halted.mkdir()
    process = torchrun(wanted, HALTS_AT="5", HALTED=str(halted), DENSEBENCH_CACHE=cache)
    wait_for(halted, process)
    if number == signal.SIGINT:  # as of a terminal, to all at once
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    code, out, err = ended(process)
    assert code != 0
    assert out == ""
    assert err.splitlines().count(TOLD) == 1, err
    assert "densebench/" not in err.partition("Traceback")[2], err  # none of ours
    assert not list((tmp_path / "results").rglob("*-seed0-????????????.json"))
    again = ended(torchrun([*wanted, "--json"], DENSEBENCH_CACHE=cache))
    assert again[0] == 0, again[2]
    (path,) = (tmp_path / "results").rglob("*-seed0-????????????.json")
    alone = run(protocol, "reference", "alone", backbone=halting, batch_size=2)
    assert facts(load_record(path), path) == alone
    kept = FeatureCache(Path(cache) / "features", 10**10).entries()
    assert kept
    assert all(entry.filled == entry.images for entry in kept)
