"""`densebench data` as it is typed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from densebench import cli
from densebench.prepare import sources
from densebench.prepare.sources import Table


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        assert self.code == 2
        assert "Traceback" not in self.err
        return self.err.splitlines()[-1].removeprefix("error: ")


Cli = Callable[..., Done]


@pytest.fixture
def run(table: Table, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command in this process, with the tiny archives in place of the official ones."""
    monkeypatch.setattr(sources, "read_toml", lambda path: table.model_dump())
    sources.official_table.cache_clear()

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["densebench", "data", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    yield call
    sources.official_table.cache_clear()


def test_from_nothing_to_a_checked_dataset(run: Cli, tmp_path: Path) -> None:
    root = tmp_path / "data"
    done = run("prepare", "voc", "coco_things", "--root", root, "--accept-license")
    assert done.code == 0
    assert done.out.splitlines()[0] == f"voc: 3 train, 1 val images in {root}/VOCdevkit/VOC2012"
    assert f"densebench data verify coco_things --root {root}" in done.out
    assert "SBD states no licence" in done.err
    done = run("verify", "all", "--root", root)
    assert done.code == 0
    assert "voc in " in done.out
    assert "aeroplane" in done.out
    assert "without a pixel: bird" in done.out
    assert done.out.count("fingerprint: ") == 2


def test_the_report_as_json(run: Cli, tmp_path: Path) -> None:
    run("prepare", "ade20k", "--root", tmp_path, "--accept-license")
    done = run("verify", "ade20k", "--root", tmp_path, "--json")
    (report,) = json.loads(done.out)
    assert report["splits"]["val"] == {
        "images": 1,
        "expected": 1,
        "checked": 1,
        "pixels": {**dict.fromkeys(report["splits"]["val"]["pixels"], 0), "flag": 23},
        "ignored": 1,
        "valued": 0,
    }
    assert len(report["fingerprint"]) == 64
    mask = tmp_path / "ADEChallengeData2016/annotations/validation/ADE_val_00000001.png"
    mask.write_bytes(b"")
    done = run("verify", "ade20k", "--root", tmp_path, "--json")
    assert done.error == "ade20k: not as released, as said above"
    assert f"ade20k: {mask}: not a readable mask" in done.err
    assert json.loads(done.out)[0]["problems"]


def test_quick_says_so(run: Cli, tmp_path: Path) -> None:
    run("prepare", "ade20k", "--root", tmp_path, "--accept-license")
    done = run("verify", "ade20k", "--root", tmp_path, "--quick")
    assert "(a sample)" in done.out
    assert "fingerprint" not in done.out


def test_prepared_with_problems(run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("prepare", "ade20k", "--root", tmp_path, "--accept-license")
    (tmp_path / "ADEChallengeData2016/images/validation/x.jpg").write_bytes(b"")
    done = run("prepare", "ade20k", "--root", tmp_path)
    assert done.error == "ade20k: prepared, but with problems, as said above"
    assert "1 of 2 images of the val split are without a mask" in done.err


def test_bad_input(run: Cli, tmp_path: Path) -> None:
    assert "no dataset named 'vcc'" in run("prepare", "voc", "vcc", "--root", tmp_path).error
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / ".densebench").exists()
    assert "no dataset named" in run("verify", "coco", "--root", tmp_path).error
    assert (
        f"no dataset in {tmp_path}; get one with" in run("verify", "all", "--root", tmp_path).error
    )
    assert "no such folder" in run("prepare", "voc", "--from", tmp_path / "no").error


def process(*arguments: object, **environment: str) -> Done:
    """The command as a process of its own, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "densebench.cli", "data", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_as_a_process(tmp_path: Path, server: Any, archives: dict[str, bytes]) -> None:
    refused = process("prepare", "ade20k", "--root", tmp_path)
    assert refused.error.startswith("ade20k: its terms (https://groups.csail.mit.edu")
    assert "Scene Parsing through ADE20K Dataset. CVPR 2017" in refused.err
    server.put("ADEChallengeData2016.zip", archives["ADEChallengeData2016.zip"])
    fake = process(
        "prepare",
        "ade20k",
        "--root",
        tmp_path,
        "--accept-license",
        DENSEBENCH_MIRROR=server.address,
    )
    assert "its MD5 is" in fake.error
    assert "the official archive's is 7328b3957e407ddae1d3cbf487f149ef" in fake.error
    assert not (tmp_path / "ADEChallengeData2016").exists()


def test_on_a_terminal_it_asks(tmp_path: Path, given: Path) -> None:
    """With a real pseudo-terminal: no, and nothing is remembered."""
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "densebench.cli", "data", "prepare", "voc"]
    running = subprocess.Popen(
        [*command, "--root", str(tmp_path / "data")],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        close_fds=True,
    )
    os.close(follower)
    seen = b""
    while b"Do you accept these terms for voc?" not in seen:
        seen += os.read(leader, 4096)
    os.write(leader, b"n\n")
    assert running.wait(20) == 2
    assert b"not prepared, since its terms are not accepted" in os.read(leader, 4096)
    os.close(leader)
    assert not (tmp_path / "data").exists()
