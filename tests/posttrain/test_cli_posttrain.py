"""`densebench posttrain` as its users meet it: processes, signals, torchrun, what it prints."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from densebench import cli
from densebench.posttrain import session
from densebench.posttrain.journal import read_journal

pytestmark = pytest.mark.usefixtures("workplace")

PACKAGE = str(Path(cli.__file__).parents[2])
TRAIN = ("posttrain", "--backbone", "net.py:make", "--recipe", "tiny.toml", "--device", "cpu")
LONGEST = 240  # seconds that a process may take on a machine with much else to do


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """The command in this process; as a real one costs seconds for importing torch."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["densebench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command as a process group of its own, which does not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*command: str, pause: float = 0) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": PACKAGE, "PAUSE": str(pause)}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, text=True, **pipes
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONGEST
    while not found():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def curve(name: str) -> list[tuple[int, float]]:
    lines = read_journal(Path(f"posttrained/{name}/log.jsonl"))
    return [(line["step"], line["loss"]) for line in lines]


def weights(name: str) -> list[bytes]:
    return [
        Path(f"posttrained/{name}/{part}.safetensors").read_bytes()
        for part in ("student", "teacher")
    ]


def overrides(**values: object) -> list[str]:
    return [f"--set={key.replace('__', '.')}={value}" for key, value in values.items()]


def test_sigkill_at_any_moment_and_resume(run: Callable[..., Done], start: Callable) -> None:
    options = [*TRAIN, "--data", "photos"]
    options += overrides(training__steps=30, training__checkpoint_every=2)
    assert run(*options, "--name", "unbroken").code == 0
    process = start(sys.executable, "-m", "densebench", *options, "--name", "broken", pause=0.01)
    checkpoints = Path("posttrained/broken/checkpoints")
    wait_for(lambda: any(checkpoints.glob("*.pt")), process)
    time.sleep(random.uniform(0, 0.5))
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(LONGEST) == -signal.SIGKILL
    assert not Path("posttrained/broken/broken.toml").exists()
    done = run(*options, "--name", "broken", "--resume")
    assert done.code == 0, done.err
    assert ", from step " in done.err
    assert curve("broken") == curve("unbroken")
    assert [step for step, _ in curve("broken")] == [*range(1, 31)]
    assert weights("broken") == weights("unbroken")


def test_ctrl_c_saves_and_says_how_to_go_on(run: Callable[..., Done], start: Callable) -> None:
    options = [*TRAIN, "--data", "photos", "--workers", "2"]
    options += overrides(training__steps=30, training__checkpoint_every=100)
    assert run(*options, "--name", "unbroken", "--workers", "0").code == 0
    command = [*options, "--name", "it-stays", "--overwrite"]
    process = start(sys.executable, "-m", "densebench", *command, pause=0.05)
    log = Path("posttrained/it-stays/log.jsonl")
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 2, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: workers get it too
    out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith("interrupted: saved after step ")
    assert " of 30; go on with: densebench posttrain " in last
    resuming = shlex.split(last.partition("go on with: ")[2])
    assert "--overwrite" not in resuming
    assert resuming[-1] == "--resume"
    assert run(*resuming[1:]).code == 0
    assert curve("it-stays") == curve("unbroken")
    assert weights("it-stays") == weights("unbroken")


def torchrun(*arguments: str) -> list[str]:
    found = str(Path(sys.executable).with_name("torchrun"))
    return [found, "--standalone", "--nproc-per-node", "2", "-m", "densebench", *arguments]


def test_sigterm_reaches_every_process_and_is_saved_from(
    run: Callable[..., Done], start: Callable
) -> None:
    """As a cluster ends a job: torchrun, both trainers and their loading workers get it."""
    options = [*TRAIN, "--data", "photos", "--workers", "1", "--name", "mine"]
    options += overrides(training__steps=60, training__checkpoint_every=100)
    process = start(*torchrun(*options), pause=0.05)
    log = Path("posttrained/mine/log.jsonl")
    wait_for(lambda: log.exists() and log.read_text().count("\n") > 2, process)
    os.killpg(process.pid, signal.SIGTERM)
    process.communicate(timeout=LONGEST)
    assert process.returncode != 0
    (saved,) = Path("posttrained/mine/checkpoints").glob("step-*.pt")
    assert 2 < int(saved.stem.removeprefix("step-")) < 60
    assert run(*options, "--resume").code == 0
    assert [step for step, _ in curve("mine")] == [*range(1, 61)]


# The queue, references from the batch alone, the quirks off: each splits over processes.
@pytest.mark.parametrize(
    "kind",
    [
        {},
        pytest.param({"loss__queue_size": 0}, marks=pytest.mark.slow),
        {"loss__queue_counter": "exact", "training__seed": 1, "views__engine": "torch"},
    ],
)
def test_two_processes_train_as_one(
    run: Callable[..., Done], start: Callable, kind: dict[str, Any]
) -> None:
    changes = overrides(training__steps=6, model__drop_path=0, **kind)
    options = [*TRAIN, "--data", "photos", *changes]
    assert run(*options, "--name", "one").code == 0
    process = start(*torchrun(*options), "--name", "two")
    out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert out == "two: posttrained/two/two.toml\n"
    assert "on cpu and 2 processes" in err
    for (step, alone), (same, together) in zip(curve("one"), curve("two"), strict=True):
        assert step == same
        assert together == pytest.approx(alone, rel=1e-4)
    for part in ("student", "teacher"):
        alone, together = (
            load_file(f"posttrained/{name}/{part}.safetensors") for name in ("one", "two")
        )
        for key, value in alone.items():
            torch.testing.assert_close(together[key], value, atol=1e-4, rtol=1e-4)


def test_then_sets_base_and_new_side_by_side(run: Callable[..., Done], tiny_task: Path) -> None:
    done = run(*TRAIN, "--data", "photos", "--name", "mine", "--then", tiny_task, "--tensorboard")
    assert done.code == 0, done.err
    first, _, table = done.out.partition("\n")
    assert first == "mine: posttrained/mine/mine.toml"
    rows = [line for line in table.splitlines() if "net.py" in line or "mine" in line]
    assert len(rows) == 2
    assert "net.py" in rows[0]
    records = [json.loads(p.read_text()) for p in Path().glob("leaderboard/results/*/*/*.json")]
    assert {record["backbone"]["name"] for record in records} == {"net.py:make", "mine"}
    assert any(Path("posttrained/mine/tensorboard").iterdir())
    text = Path("posttrained/mine/README.md").read_text()
    assert "Not evaluated yet" not in text
    head, _, row = text.partition("## Results\n")[2].splitlines()[1:4]
    assert head == "| task | metric | net.py:make | mine | difference, 95% interval | p |"
    scores = {r["backbone"]["name"]: r["scores"][0]["metrics"][0] for r in records}
    told = [f"{100 * scores[name]['value']:.2f}" for name in ("net.py:make", "mine")]
    cells = [cell.strip() for cell in row.split("|")[3:6]]
    assert cells[:2] == told
    found = run("compare", "mine", "net.py:make", "--task", records[0]["task"], "--json")
    pair = json.loads(found.out)
    numbers = [f"{100 * pair[key]:+.2f}" for key in ("difference", "low", "high")]
    assert cells[2] == "{} [{}, {}]".format(*numbers)
    assert run(*TRAIN, "--data", "photos", "--name", "mine", "--resume").code == 0
    assert Path("posttrained/mine/README.md").read_text() == text
    assert "images seen: 16/16" in done.err
    assert ", loss " in done.err
    assert ", learning rate " in done.err


def test_then_refuses_a_base_that_is_another_one_each_time(
    run: Callable[..., Done], tiny_task: Path
) -> None:
    code = Path("net.py").read_text()
    Path("net.py").write_text(code.replace("torch.manual_seed(0)", "torch.seed()"))
    done = run(*TRAIN, "--data", "photos", "--name", "mine", "--then", tiny_task)
    assert done.code == 2
    told = done.err.splitlines()[-1]
    assert told.startswith("error: --then: net.py:make is built with other weights each time")
    assert not Path("posttrained").exists()
    assert run(*TRAIN, "--data", "photos", "--name", "mine").code == 0  # alone it may be


def test_then_refuses_a_base_that_has_changed_meanwhile(
    run: Callable[..., Done], tiny_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = session.export

    def change(*given: Any) -> Path:
        code = Path("net.py").read_text()
        Path("net.py").write_text(code.replace("manual_seed(0)", "manual_seed(1)"))
        return made(*given)

    monkeypatch.setattr(session, "export", change)
    done = run(*TRAIN, "--data", "photos", "--name", "mine", "--then", tiny_task)
    assert done.code == 2
    assert "is built with other weights each time" in done.err.splitlines()[-1]
    assert not [*Path().glob("leaderboard/results/*/*/*.json")]


class TestOneLine:
    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["--backbone", "rgb_s14"], "rgb_s14: has no parameters, so there is nothing to train"),
            (["--set", "training.epoch=2"], "did you mean 'epochs'?"),
            (["--set", "epochs"], "--set wants KEY=VALUE"),
            (["--then", "voc_incontex"], "unknown task 'voc_incontex' (did you mean"),
            (["--limit", "3"], "--limit: only for --then, which names tasks"),
            (["--resume"], "no checkpoint to go on from; leave --resume out"),
            (["--name", "dinov2_s14"], "is the name of"),
            (["--workers", "-1"], "--workers"),
            (
                ["--set", "optimiser.backbone_lr=1e37"],
                "weight norm of step 1 is not finite",
            ),
        ],
    )
    def test_bad_input(self, run: Callable[..., Done], arguments: list[str], told: str) -> None:
        done = run(*TRAIN, "--data", "photos", "--name", "mine", *arguments)
        assert done.code == 2
        assert done.out == ""
        assert "Traceback" not in done.err
        last = done.err.splitlines()[-1]
        assert last.startswith("error: ")
        assert told in last


def test_the_name_is_known_from_then_on(
    run: Callable[..., Done], tiny_task: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(*TRAIN, "--data", "photos", "--name", "mine").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    listed = run("list", "backbones").out
    line = next(line for line in listed.splitlines() if line.startswith("  mine "))
    assert line.endswith("(from net.py:make)")
    assert json.loads(run("show", "mine").out.partition("\n")[2])["adapted_from"] == "net.py:make"
    done = run("run", "--backbone", "mine", "--task", tiny_task, "--device", "cpu")
    assert done.code == 0, done.err
    assert len([*Path("leaderboard/results/mine").rglob("*.json")]) == 1
