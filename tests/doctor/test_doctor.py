"""`densebench doctor` where all is well, and where each thing is broken."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench import cli, doctor
from densebench.cards import card_names
from densebench.doctor import Finding, machine, software

pytestmark = pytest.mark.usefixtures("own_places")
Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """The command in this process."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def call(*arguments: object) -> tuple[int, dict[str, Any], str]:
        monkeypatch.setattr(sys, "argv", ["densebench", "doctor", "--json", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), json.loads(out), err

    return call


def finding(report: dict[str, Any], section: str, name: str) -> dict[str, str]:
    (found,) = [f for f in report["findings"] if (f["section"], f["name"]) == (section, name)]
    return found


def broken(report: dict[str, Any]) -> list[dict[str, str]]:
    return [found for found in report["findings"] if found["state"] == "broken"]


def test_all_is_well(run: Run) -> None:
    import torch

    code, report, err = run()
    assert (code, report["ok"], broken(report), err) == (0, True, [], "")
    assert torch.__version__.split("+")[0] in finding(report, "packages", "torch")["text"]
    assert finding(report, "gpu", "faiss")["text"].startswith("searches on the ")
    assert " free" in finding(report, "disk", "cache")["text"]
    n_cards = len(card_names("backbones"))
    assert finding(report, "cards", "backbones")["text"] == f"{n_cards} cards"
    voc = finding(report, "datasets", "voc")
    assert (voc["state"], voc["text"]) == ("note", "missing in data")
    assert voc["remedy"] == "densebench data prepare voc --root data"
    assert finding(report, "weights", "weights")["text"].startswith("0 of ")
    assert not (Path("leaderboard").exists() or Path("data").exists())


def test_as_text(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\nsource = "timm"\npatch_size = "x"\n')
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["densebench", "doctor"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capfd.readouterr()
    assert ended.value.code == 2
    lines = out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("  BROKEN"))
    assert str(tmp_path / "bad.toml") in lines[at]
    assert lines[at + 1] == f"         mend: correct {tmp_path}/bad.toml, or move it away"
    assert err.splitlines()[-1].startswith("error: 1 of ")


def test_each_bad_card_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    for kind, text in (
        ("backbones", "name = ["),
        ("tasks", 'name = "t"\nprotocl = "x"'),
        ("recipes", 'name = "r"'),
    ):
        (folder / kind).mkdir(parents=True)
        (folder / kind / "one.toml").write_text(text)
    monkeypatch.setenv("DENSEBENCH_PATH", f"{folder}:{tmp_path / 'nowhere'}")
    code, report, _ = run()
    assert code == 2
    told = {found["name"]: found for found in broken(report) if found["section"] == "cards"}
    assert "not valid TOML" in told[f"{folder}/backbones/one.toml"]["text"]
    assert "unknown key 'protocl'" in told[f"{folder}/tasks/one.toml"]["text"]
    assert f"{folder}/recipes/one.toml" in told
    assert str(tmp_path / "nowhere") in told["DENSEBENCH_PATH"]["text"]
    assert len(told) == 4
    good = len(list((Path(doctor.__file__).parents[2] / "tasks").glob("*.toml")))
    assert finding(report, "cards", "tasks")["text"] == f"{good} cards"


def test_a_broken_entry_point(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "site" / "lost-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lost\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[densebench.cards]\nlost = no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(info.parent))
    code, report, _ = run()
    (found,) = [f for f in broken(report) if f["section"] == "cards"]
    assert code == 2
    assert "entry point 'lost'" in found["name"] + found["text"]
    assert "mend or uninstall the distribution" in found["text"]


def test_places_and_settings(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("DENSEBENCH_MEMORY", "much")
    code, report, _ = run("--root", tmp_path / "file" / "data")
    assert code == 2
    assert finding(report, "disk", "cache")["remedy"] == "export DENSEBENCH_CACHE=DIR"
    assert finding(report, "disk", "data")["state"] == "note"
    assert "must be a number of bytes" in finding(report, "memory", "memory")["text"]
    assert finding(report, "python", "python")["state"] == "ok"


def test_datasets_that_are_there_or_partly(run: Run, tmp_path: Path, real_data: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for name in ("VOCdevkit", "coco"):
        (root / name).symlink_to(real_data / name)
    (root / "cityscapes/leftImg8bit/train").mkdir(parents=True)
    code, report, _ = run("--root", root)
    assert code == 0
    things = finding(report, "datasets", "coco_things")
    assert (things["state"], things["text"]) == ("ok", f"found in {root}/coco")
    voc = finding(report, "datasets", "voc")
    assert voc["state"] == "note" and "trainaug.txt: no such list" in voc["text"]
    assert voc["remedy"] == f"densebench data prepare voc --root {root}"
    partly = finding(report, "datasets", "cityscapes")
    assert partly["text"].startswith("partly there: ")
    assert "the first that is missing is" in partly["text"]
    (root / "broken.zip").write_bytes(b"PK")
    code, report, _ = run("--root", root)
    assert code == 2
    assert "broken.zip: not a readable .zip" in finding(report, "datasets", "ade20k")["text"]


def test_weights_beside_a_card_that_are_gone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path(card_names("backbones")["dino_s16"]).read_text()
    text = own.replace('name = "dino_s16"', 'name = "trained"').partition("[weights]")[0]
    (tmp_path / "trained.toml").write_text(text + '[weights]\npath = "student.pth"\n')
    monkeypatch.setenv("DENSEBENCH_PATH", str(tmp_path))
    code, report, _ = run()
    assert code == 2
    assert "student.pth is not beside the card" in finding(report, "weights", "trained")["text"]
    (tmp_path / "student.pth").write_bytes(b"weights")
    code, report, _ = run()
    assert code == 0
    assert finding(report, "weights", "weights")["text"].endswith(": trained")


BREAKAGES = {
    "torch": 'raise ImportError("libcudart.so.99: cannot open shared object file")',
    "faiss": "import sys\nsys.exit('no such luck')",
}


def test_broken_torch_and_faiss_are_told(tmp_path: Path) -> None:
    """A real process, with modules that cannot be imported before the real ones."""
    folder = tmp_path / "fake"
    folder.mkdir()
    for module, text in BREAKAGES.items():
        (folder / f"{module}.py").write_text(text)
    root = Path(doctor.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "densebench.cli", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{folder}:{root}"},
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    told = {found["name"]: found for found in broken(report)}
    assert set(told) == {"torch", "faiss"}
    assert "libcudart.so.99" in told["torch"]["text"]
    assert "pip install --force-reinstall --no-deps torch" in told["torch"]["remedy"]
    assert "no such luck" in told["faiss"]["text"]
    assert finding(report, "packages", "timm")["text"] == "not examined: it needs torch"
    assert finding(report, "weights", "weights")["text"] == "not known without torch"
    assert finding(report, "datasets", "voc")["state"] == "note"
    assert finding(report, "cards", "tasks")["state"] == "ok"
    assert finding(report, "cards", "recipes")["text"].startswith("not examined")


def test_what_nobody_thought_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Finding]:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(machine, "memory", fail)
    monkeypatch.setattr(software, "packages", list)
    (found,) = [f for f in doctor.examine() if f.state == "broken"]
    assert (found.section, found.text) == ("memory", "ZeroDivisionError: division by zero")
