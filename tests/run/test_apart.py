"""The process that each of many runs has."""

import subprocess
import sys
from pathlib import Path

import pytest

import densebench
from densebench.host.watcher import Watcher
from densebench.run.apart import CHILD, run_apart
from densebench.run.matrix import matrix_table, run_matrix
from densebench.run.options import RunOptions


def test_a_run_reads_no_code_of_the_working_directory(
    colour_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a script of the user's that has the name of a module."""
    for name in ("statistics", "secrets", "yaml", "densebench", "faiss", "torch", "importlib"):
        (tmp_path / f"{name}.py").write_text(
            "import pathlib; pathlib.Path('was_run').touch(); raise SystemExit('a stranger')"
        )
    monkeypatch.chdir(tmp_path)
    base = RunOptions("rgb_s14", str(colour_task), results=tmp_path / "results", cache="off")
    (outcome,) = run_matrix(base, ["rgb_s14"], [str(colour_task)], [0], Watcher())
    assert outcome.record is not None, outcome.reason
    assert not (tmp_path / "was_run").exists()


EXITS = """
import os, torch
class Net(torch.nn.Module):
    patch_size, embed_dim = 14, 3
    def forward(self, images):
        {how}
def make():
    return Net()
"""


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("os._exit(0)", "SystemExit at line 6: os._exit(0)"),
        ("import ctypes; ctypes.CDLL(None)._exit(0)", "exit code 0, and left no record"),
    ],
)
def test_a_run_that_left_no_record_has_failed(
    colour_task: Path, tmp_path: Path, how: str, told: str
) -> None:
    (tmp_path / "net.py").write_text(EXITS.format(how=how))
    backbone = f"{tmp_path}/net.py:make"
    base = RunOptions(backbone, str(colour_task), results=tmp_path / "results", cache="off")
    (outcome,) = run_matrix(base, [backbone], [str(colour_task)], [0], Watcher())
    assert outcome.record is None
    assert told in outcome.reason
    table = matrix_table([outcome])
    assert told in next(iter(table.columns[3].cells))


@pytest.mark.parametrize(
    ("how", "interrupted"),
    [
        ("os.kill(os.getpid(), __import__('signal').SIGTERM)", True),
        ("os.kill(os.getpid(), __import__('signal').SIGUSR2)", False),  # for the parent alone
    ],
)
def test_signals_of_a_cluster(
    colour_task: Path, tmp_path: Path, how: str, interrupted: bool
) -> None:
    (tmp_path / "net.py").write_text(EXITS.format(how=how))
    backbone = f"{tmp_path}/net.py:make"
    options = RunOptions(backbone, str(colour_task), results=tmp_path / "results", cache="off")
    outcome = run_apart(options, Watcher())
    assert outcome.record is None
    assert outcome.interrupted == interrupted
    assert ("exit code" in outcome.reason) == interrupted


def test_a_run_is_done_by_the_same_package(tmp_path: Path) -> None:
    """Even where another one is installed, or none is on the path."""
    other = tmp_path / "other/densebench"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise SystemExit('another package')")
    package = str(Path(densebench.__file__).parent)
    script = CHILD.replace("sys.exit(child())", "print(child.__code__.co_filename)")
    done = subprocess.run(
        [sys.executable, "-c", script, package],
        env={"PYTHONPATH": str(other.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == f"{package}/run/apart.py", done.stderr
