"""Where jobs go: what `--on` may say, and what is there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.run.sweep import places
from densebench.run.sweep.places import Place, check_place, read_place, start_here, under_way
from densebench.run.sweep.states import Submission
from densebench.run.sweep.worker import Job


def test_places() -> None:
    assert read_place("local") == read_place("local:1") == Place("local")
    assert read_place("local:16") == Place("local", 16)
    asked = {"partition": "gpu", "gpus_per_node": 8, "mem_gb": 1.5}
    assert read_place("slurm:partition=gpu, gpus_per_node=8,mem_gb=1.5") == Place(
        "slurm", asked=asked
    )
    assert read_place("slurm") == Place("slurm")


@pytest.mark.parametrize(
    ("on", "told"),
    [
        ("", "--on wants local:N or slurm:KEY=VALUE,..., not ''"),
        ("pbs:queue=a", "not 'pbs:queue=a'"),
        ("local:0", "from 1 to 256, not '0'"),
        ("local:-1", "not '-1'"),
        ("local:many", "not 'many'"),
        ("local:٣", "not '٣'"),
        ("slurm:gpus=8", "unknown key 'gpus'.*; allowed are account, array_parallelism, .*qos"),
        ("slurm:partitoin=gpu", r"\(did you mean 'partition'\?\)"),
        ("slurm:gpus_per_node=all", "gpus_per_node wants a whole number, not 'all'"),
        ("slurm:timeout_min=-5", "timeout_min wants a whole number, not '-5'"),
        ("slurm:mem_gb=nan", "mem_gb wants a number, not 'nan'"),
        ("slurm:partition", "partition wants a value, not ''"),
        ("slurm:partition=a\nb", "partition wants a value"),
    ],
)
def test_places_that_are_not(on: str, told: str) -> None:
    with pytest.raises(DensebenchError, match=told):
        read_place(on)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(DensebenchError, match=r"pip install 'densebench\[slurm\]'"):
        check_place(Place("local"))


def test_only_a_sweep_needs_submitit() -> None:
    """Without it the command line works, and so does a plan's first half."""
    script = (
        "import sys; sys.modules['submitit'] = None\n"
        "import densebench.cli, densebench.run.matrix, densebench.run.sweep.driver"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DensebenchError, match="no sbatch and no srun is on the PATH: start"):
        check_place(read_place("slurm:partition=gpu"))


def test_what_slurm_says(cluster: Path, tmp_path: Path) -> None:
    now = time.time()
    told = {0: "RUNNING", 1: "PENDING", 2: "COMPLETED", 3: "CANCELLED by 1000", 4: "TIMEOUT"}
    lines = [f"77_{number}|{state}|node1" for number, state in told.items()]
    (cluster / "sacct.txt").write_text("\n".join(["JobID|State|NodeList", *lines]))
    gone = {n: Submission(kind="slurm", id=f"77_{n}", time=now - 3600) for n in range(6)}
    gone[6] = Submission(kind="slurm", id="78_0", time=now)  # which Slurm does not know yet
    gone[7] = Submission(kind="local", id="5", time=now)
    assert under_way(gone, now, tmp_path) == {0, 1, 6}


def test_what_slurm_refuses(cluster: Path, tmp_path: Path) -> None:
    place = read_place("slurm:partition=closed")
    jobs = [Job(tmp_path, 0), Job(tmp_path, 1)]
    with pytest.raises(DensebenchError, match=r"refused the jobs: .*invalid partition") as told:
        places.submit_array(jobs, place, tmp_path / "logs")
    assert "\n" not in str(told.value)


def test_what_is_asked_of_slurm(cluster: Path, tmp_path: Path) -> None:
    place = read_place("slurm:partition=gpu,gpus_per_node=8,mem_gb=64,array_parallelism=1")
    ids = places.submit_array([Job(tmp_path, n) for n in (0, 1)], place, tmp_path / "logs")
    assert ids == ["77_0", "77_1"]
    script = (cluster / "script.sh").read_text()
    for line in (
        "--partition=gpu",
        "--gpus-per-node=8",
        "--mem=64GB",
        "--array=0-1%1",
        "--time=1440",
        "--job-name=densebench",
    ):
        assert f"#SBATCH {line}\n" in script


def test_a_job_reads_no_code_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it is started with is as before afterwards."""
    for name in ("statistics", "densebench", "submitit", "numpy"):
        (tmp_path / f"{name}.py").write_text(
            "import pathlib; pathlib.Path('was_run').touch(); raise SystemExit('a stranger')"
        )
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    job = start_here(Job(tmp_path / "absent", 0), tmp_path / "logs")
    assert (Path.cwd(), dict(os.environ)) == (tmp_path, before)
    until = time.monotonic() + 60
    while not job.done() and time.monotonic() < until:
        time.sleep(0.1)
    assert "no sweep in" in job.paths.stderr.read_text()
    assert not list(tmp_path.rglob("was_run"))
