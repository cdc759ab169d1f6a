"""A published table of two baselines on tiny pictures, run through the command line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from densebench import cli
from densebench.papers import planned
from densebench.records.store import load_records
from densebench.report.board.published import PublishedNumber
from densebench.report.formats.reproduction import OURS

pytestmark = pytest.mark.usefixtures("own_places")


class Done(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["densebench", "reproduce", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def unlikely(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Published numbers for the tiny task."""

    def publish(**changes: Any) -> None:
        monkeypatch.setattr(planned, "load_published", lambda: [number(**changes)])

    return publish


def number(**changes: Any) -> PublishedNumber:
    values = {
        "task": "tiny_retrieval",
        "variant": "reference",
        "backbone": "rgb_s14",
        "value": 50.0,
        "n_val": 2,
        "source": "A paper, table 1",
        "note": "no memory size is stated",
    }
    known = PublishedNumber.model_fields.keys()
    rest = {"params": {}} if "params" in known else {}
    return PublishedNumber.model_validate({**values, **rest, **changes})


class TestPlan:
    def test_dry_run_runs_nothing(self, run: Cli, suite: Callable[..., Path]) -> None:
        done = run(suite(), "--dry-run", "--json")
        assert done.code == 0
        rows = json.loads(done.out)["rows"]
        assert [row["backbone"] for row in rows] == ["rgb_s14", "hog_s14"]
        assert all(row["miou"] is None and not row["missing"] for row in rows)
        assert not Path("leaderboard").exists()

    def test_what_is_missing_is_listed_before_anything_starts(
        self, run: Cli, suite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HOME", str(Path("hub").resolve()))
        done = run(suite("rgb_s14", "no_weights_of_dino", task="voc_linear"))
        assert done.code == 2
        assert "unknown backbone 'no_weights_of_dino'" in done.err
        done = run(suite("rgb_s14", "dino_s16", task="voc_linear"))
        assert done.code == 2
        assert "2 of 2 rows: voc in data: densebench data prepare voc --root data" in done.err
        assert "1 of 2 rows: weights of dino_s16: densebench weights fetch dino_s16" in done.err
        assert done.err.splitlines()[-1].startswith("error: 2 of 2 rows of tiny lack data")
        assert not done.out
        assert not Path("leaderboard").exists()
        done = run(suite("rgb_s14", task="voc_linear"), "--available")
        assert done.code == 2
        assert "no row of tiny can be run" in done.err

    def test_a_spoilt_dataset_is_told_as_it_is(
        self,
        run: Cli,
        suite: Callable[..., Path],
        tmp_path: Path,
        write_dataset: Callable[..., Path],
    ) -> None:
        task = write_dataset(tmp_path / "data")
        (tmp_path / "data/masks/picture00.png").unlink()
        done = run(suite(task=task), "--dry-run", "--json")
        assert done.code == 0
        assert "picture00" in json.loads(done.out)["rows"][0]["missing"][0]["what"]

    def test_a_task_that_does_not_exist(self, run: Cli, suite: Callable[..., Path]) -> None:
        done = run(suite(task="voc_liner"), "--dry-run")
        assert done.code == 2
        assert "suite.toml: unknown task 'voc_liner' (did you mean 'voc_linear'?)" in done.err


class TestRun:
    def test_runs_then_reads_and_stands_beside_the_published(
        self,
        run: Cli,
        suite: Callable[..., Path],
        unlikely: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        unlikely()
        card, page = suite(), Path("page.md")
        done = run(card, "--device", "cpu", "--markdown", page)
        assert done.code == 0, done.err
        assert "tiny_retrieval" in done.out
        assert "not comparable: parameters other than those of the task card" in " ".join(
            done.out.split()
        )
        records = load_records(Path("leaderboard/results"))
        assert len(records) == 2
        first = page.read_text()
        assert f"{OURS} tiny`" in first
        for path, record in records:
            assert f"[{100 * record.score.value:.2f}]({path})" in first
            assert str(path) in first
        monkeypatch.setattr(planned, "run_matrix", None)  # nothing is left to run
        again = run(card, "--json", "--markdown", page)
        rows = json.loads(again.out)["rows"]
        assert again.code == 0
        assert [r["miou"] for r in rows] == [
            pytest.approx(
                100 * next(x for _, x in records if x.backbone.name == r["backbone"]).score.value
            )
            for r in rows
        ]
        assert all(row["hours"] > 0 and not row["hours_estimated"] for row in rows)
        assert rows[0]["published"][0]["miou"] == 50.0
        assert rows[0]["published"][0]["difference"] is None
        assert page.read_text() == first

    def test_available_runs_what_can_be(
        self, run: Cli, suite: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HOME", str(Path("hub").resolve()))
        card = suite("rgb_s14", "dino_s16")
        assert run(card, "--device", "cpu").code == 2
        done = run(card, "--device", "cpu", "--available", "--json")
        assert done.code == 0
        rows = json.loads(done.out)["rows"]
        assert [row["miou"] is not None for row in rows] == [True, False]
        assert rows[1]["missing"] == [
            {"what": "weights of dino_s16", "command": "densebench weights fetch dino_s16"}
        ]

    def test_a_run_that_fails_is_a_row_that_says_why(
        self, run: Cli, suite: Callable[..., Path], tmp_path: Path
    ) -> None:
        (tmp_path / "own.py").write_text("def load():\n    raise RuntimeError('no such thing')\n")
        done = run(suite("own.py:load", "rgb_s14"), "--device", "cpu", "--json")
        assert done.code == 2
        rows = json.loads(done.out)["rows"]
        assert "no such thing" in rows[0]["failed"]
        assert rows[1]["miou"] is not None
        assert "error: 1 of 2 runs failed" in done.err

    @pytest.mark.parametrize("content", ["my notes\n", "Generated by `densebench leaderboard`\n"])
    def test_a_page_that_is_not_ours_is_left_alone(
        self, run: Cli, suite: Callable[..., Path], content: str
    ) -> None:
        Path("page.md").write_text(content)
        done = run(suite(), "--markdown", "page.md")
        assert done.code == 2
        assert "page.md is there and was not made by `densebench reproduce`" in done.err
        assert Path("page.md").read_text() == content
        assert not Path("leaderboard").exists()
