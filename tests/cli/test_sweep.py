"""`densebench sweep`: what it shows, and how it ends."""

import json
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from densebench import cli
from densebench.host.watcher import Watcher
from densebench.run.options import RunOptions
from densebench.run.sweep.driver import RunState
from densebench.run.sweep.states import Note, Sweep, SweepFolder

pytestmark = pytest.mark.usefixtures("own_places")

Command = Callable[..., int]
RUN = RunOptions("rgb_s14", "scenes_linear")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["densebench", "sweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return run


def test_a_plan_without_profiles(
    command: Command, capfd: pytest.CaptureFixture[str], tiny_task: Path
) -> None:
    tasks = f"{tiny_task},{tiny_task.with_name('linear.toml')}"
    names = ("--backbone", "rgb_s14,hog_s14", "--task", tasks)
    assert command(*names, "--seeds", "2", "--on", "slurm:partition=gpu", "--dry-run") == 0
    shown = " ".join(capfd.readouterr().out.split())
    assert "8 runs in 2 jobs on slurm" in shown
    assert "no profile of hog_s14 at 28x28 in fp32: densebench profile" in shown
    assert not list(Path().iterdir())


def test_a_plan_for_scripts(
    command: Command, capfd: pytest.CaptureFixture[str], tiny_task: Path
) -> None:
    assert command("--backbone", "rgb_s14", "--task", str(tiny_task), "--dry-run", "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert (row["job"], row["backbone"], row["task"]) == (1, "rgb_s14", str(tiny_task))
    assert row["images"] == 6 and row["hours"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--task", "scenes_linear"], "wants --backbone"),
        (["--backbone", "rgb_s14"], "wants --task"),
        (["--on", "slurm:gpu=1"], "allowed are account"),
        (["--on", "local:x"], "from 1 to 256"),
        (["--seeds", "0"], "--seeds wants a number"),
        (["--precision", "fp8"], "--precision must be one of"),
        (["--set", "epoch=1"], "unknown key 'epoch'"),
        (["status", "elsewhere"], "no sweep in"),
        (["resume", "elsewhere"], "no sweep in"),
    ],
)
def test_what_is_wrong_is_one_line(
    command: Command, capfd: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    both = ["--backbone", "rgb_s14", "--task", "scenes_linear"]
    short = {"--task", "--backbone", "status", "resume"} & set(arguments[:1])
    assert command(*([] if short else both), *arguments) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ") and told in line
    assert not list(Path().iterdir())


def test_status(command: Command, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    files = SweepFolder(Path("sweep"))
    files.plan(Sweep(place=tmp_path, jobs=((RUN,), (RunOptions("hog_s14", "scenes_linear"),))))
    files.tell(RUN, Note(state="failed", reason="no [bold] images"))
    assert command("status") == 0
    shown = capfd.readouterr().out
    assert shown.startswith("1 failed, 1 missing")
    assert "no [bold] images" in shown
    assert command("status", "sweep", "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["backbone"], row["state"]) for row in rows] == [
        ("rgb_s14", "failed"),
        ("hog_s14", "missing"),
    ]


@pytest.mark.parametrize(
    ("states", "code", "told"),
    [
        (["done", "done"], 0, ""),
        (["done", "failed"], 2, "error: 1 of 2 runs have no record, as said above\n"),
        (["failed", "waiting"], 0, "densebench sweep status mine tells more\n"),
    ],
)
def test_how_it_ends(
    command: Command,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    states: list[str],
    code: int,
    told: str,
) -> None:
    asked = []

    def start(folder: Path, planned: Sweep, on: str, watcher: Watcher) -> list[RunState]:
        asked.append((folder, len(planned.runs), on))
        return [RunState(0, RUN, state, "") for state in states]  # type: ignore[arg-type]

    monkeypatch.setattr("densebench.run.sweep.driver.start", start)
    options = ("--on", "local:2", "--folder", "mine", "--backbone", "rgb_s14")
    assert command(*options, "--task", "scenes_linear") == code
    assert asked == [(Path("mine"), 1, "local:2")]
    assert capfd.readouterr().err == told


def test_every_option_of_a_run_reaches_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Those of `densebench run` by the same names, with a value that is not the usual one."""
    planned: list[Sweep] = []

    def start(folder: Path, sweep: Sweep, on: str, watcher: Watcher) -> list[RunState]:
        planned.append(sweep)
        return [RunState(0, run, "done", "") for run in sweep.runs]

    monkeypatch.setattr("densebench.run.sweep.driver.start", start)
    (tmp_path / "names.txt").write_text("a\n")
    (tmp_path / "weights.pt").touch()
    given = {
        "variant": "clean",
        "weights": tmp_path / "weights.pt",
        "data_root": tmp_path,
        "train_list": tmp_path / "names.txt",
        "val_list": tmp_path / "names.txt",
        "subset": "own:1/2",
        "subset_seed": 3,
        "limit": 5,
        "seed": 7,
        "device": "cpu",
        "batch_size": 3,
        "workers": 1,
        "precision": "bf16",
        "results": tmp_path / "results",
        "cache": "fp16",
    }
    words = [word for name, v in given.items() for word in (f"--{name}".replace("_", "-"), str(v))]
    switches = ("overwrite", "skip_bad", "offline", "allow_nondeterministic")
    words += [f"--{name}".replace("_", "-") for name in switches]
    words += ["--save-panels", "2", "--set", "epochs=3", "--layers", "2,5"]
    assert command("--backbone", "rgb_s14", "--task", "scenes_linear", *words) == 0
    (run,) = planned[0].runs
    wanted = {**given, **dict.fromkeys(switches, True), "panels": 2, "params": {"epochs": 3}}
    wanted |= {"layers": (2, 5)}
    assert {name: getattr(run, name) for name in wanted} == wanted
    left = {option.name for option in fields(RunOptions)} - wanted.keys() - {"backbone", "task"}
    assert left <= {"deterministic", "search_engine", "random_weights", "name"}
    words = ["--random-weights", "4", "--overwrite"]  # --weights may not be given beside it
    assert command("--backbone", "dinov2_s14", "--task", "scenes_linear", *words) == 0
    assert planned[-1].runs[0].random_weights == 4
