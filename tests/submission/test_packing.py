"""The folder of a submission: whole or not there, and nobody's files are written over."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from densebench.host.errors import DensebenchError
from densebench.records.store import load_evidence, load_records
from densebench.submission import packing
from densebench.submission.packing import SUMS, submit


def files(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


def test_what_is_in_it(results: Path, tmp_path: Path) -> None:
    done = submit([results], tmp_path / "out")
    assert done.problems == []
    assert done.folder == tmp_path / "out"
    stored = load_records(tmp_path / "out/leaderboard/results")
    assert [record.task for _, record in stored] == ["tiny_linear", "tiny_retrieval"]
    assert all(load_evidence(path, record) is not None for path, record in stored)
    found = files(tmp_path / "out")
    assert not any(".panels" in name for name in found)
    assert sum(name.endswith("head.safetensors") for name in found) == 1
    assert "PULL_REQUEST.md" in found and "huggingface/rgb_s14/README.md" in found
    hub = yaml.safe_load(
        (tmp_path / "out/huggingface/rgb_s14/.eval_results/densebench.yaml").read_text()
    )
    assert [entry["dataset"]["task_id"] for entry in hub] == [
        "tiny_linear_reference",
        "tiny_retrieval_reference",
    ]
    done_sums = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS],
        cwd=tmp_path / "out",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done_sums.returncode == 0, done_sums.stderr
    assert len(done_sums.stdout.splitlines()) == len(found) - 1


def test_a_problem_leaves_nothing(edit: Callable, results: Path, tmp_path: Path) -> None:
    edit("scores", 0, "metrics", 0, "value", to=0.99)
    before = sorted(tmp_path.iterdir())
    done = submit([results], tmp_path / "out")
    assert done.folder is None and len(done.problems) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_later_one_takes_the_place_of_an_earlier_one(
    results: Path, tmp_path: Path, record_file: Callable
) -> None:
    out = tmp_path / "out"
    submit([results], out)
    submit([record_file()], out)
    assert len(load_records(out / "leaderboard/results")) == 1


@pytest.mark.parametrize("name", ["notes.txt", "PULL_REQUEST.md", "leaderboard/results/x.json"])
def test_what_is_somebodys_stays(results: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    submit([results], out)
    (out / name).write_text("mine")
    before = files(out)
    with pytest.raises(DensebenchError, match="is not of an earlier submission as it was written"):
        submit([results], out)
    assert files(out) == before
    assert (out / name).read_text() == "mine"


def test_places_that_it_does_not_take(results: Path, tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("mine")
    link.symlink_to(results)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / SUMS).write_text("")
    for out, told in (
        (file, "no folder"),
        (link, "among the records"),
        (tmp_path / "theirs", "not of an earlier submission"),
        (results / "out", "among the records"),
        (tmp_path, "among the records|not of an earlier"),
    ):
        with pytest.raises(DensebenchError, match=told):
            submit([results], out)
    assert file.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert submit([results], tmp_path / "empty").folder is not None


def test_an_interruption_leaves_the_earlier_one(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    submit([results], out)
    before, there = files(out), sorted(tmp_path.iterdir())

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "model_index", end)
    with pytest.raises(KeyboardInterrupt):
        submit([results], out)
    assert files(out) == before
    assert sorted(tmp_path.iterdir()) == there


def test_to_check_alone_writes_nothing(results: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert submit([results], None).folder is None
    assert sorted(tmp_path.iterdir()) == before
