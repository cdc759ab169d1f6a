"""A published table of two baselines on tiny pictures, run through the command line."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from densebench import cli
from densebench.papers import planned
from densebench.papers.planned import plan_reproduction
from densebench.records.schema import ProfileRecord, RunRecord
from densebench.records.store import load_records, save_profile, save_record
from densebench.report.board.published import PublishedNumber
from densebench.report.board.reproduced import ReproducedRow, Reproduction, why_apart
from densebench.report.formats.reproduction import OURS, reproduction_page
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")

SUITE = """name = "tiny"
description = "two [old] baselines"
source = "A paper"
tasks = ["{task}"]
backbones = {backbones}
"""


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
def suite(tmp_path: Path, tiny_task: Path) -> Callable[..., Path]:
    def write(*backbones: str, task: object = tiny_task) -> Path:
        file = tmp_path / "suite.toml"
        named = json.dumps(backbones or ("rgb_s14", "hog_s14"))
        file.write_text(SUITE.format(task=task, backbones=named))
        return file

    return write


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


def shipped(record: RunRecord, **changes: Any) -> RunRecord:
    """The record as one of a task card that comes with the package."""
    protocol = record.protocol.model_copy(update={"as_shipped": True})
    return record.model_copy(update={"protocol": protocol, **changes})


class TestComparable:
    def test_like_with_like(self, tiny_record: RunRecord) -> None:
        record = shipped(tiny_record)
        row = ReproducedRow("t", "b", "t", "b", (number(),), found=(Path("x.json"), record))
        difference = row.difference(number())
        assert difference == pytest.approx(record.score.value - 0.5)
        assert row.remarks() == ["no memory size is stated"]

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"as_shipped": False}, "parameters other than those of the task card"),
            ({"partial": True}, "a partial run"),
            ({"skipped": {"a": "broken"}}, "1 images could not be read"),
            ({"n_val": 3}, "3 validation images, published on 2"),
            ({"n_train": 9}, "9 training images, published on 4"),
            ({"variant": "clean"}, "another run than the published one"),
        ],
    )
    def test_no_difference_but_the_reason(
        self, tiny_record: RunRecord, changes: dict[str, Any], told: str
    ) -> None:
        values = shipped(tiny_record).model_dump()
        for key, value in changes.items():
            parts = (values, values["protocol"], values["dataset"])
            next(part for part in parts if key in part)[key] = value
        record = RunRecord.model_validate(values)
        row = ReproducedRow("t", "b", "t", "b", (number(n_train=4),), (Path("x"), record))
        assert row.difference(number(n_train=4)) is None
        assert told in row.remarks()[0]
        assert told in why_apart(number(n_train=4), record)


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


class TestWhatCountsAsDone:
    @pytest.fixture
    def base(self) -> RunOptions:
        return RunOptions("", "", results=Path("kept"))

    def planned(self, card: Path, base: RunOptions) -> ReproducedRow:
        return plan_reproduction(str(card), base).rows[0]

    def test_a_whole_run_by_the_cards_rules(
        self, suite: Callable[..., Path], tiny_record: RunRecord, base: RunOptions
    ) -> None:
        path = save_record(tiny_record, base.results)
        assert self.planned(suite(), base).found == (path, tiny_record)

    @pytest.mark.parametrize(
        ("part", "changes"),
        [
            ("", {"partial": True}),
            ("", {"seed": 1}),
            ("", {"precision": "bf16"}),
            ("", {"task": "another"}),
            ("protocol", {"variant": "clean"}),
            ("protocol", {"version": 1}),
            ("dataset", {"skipped": {"a": "b"}}),
            ("dataset", {"train_names": ["a"]}),
            ("backbone", {"name": "rgb_s14@mine"}),
        ],
    )
    def test_another_run_does_not(
        self,
        suite: Callable[..., Path],
        tiny_record: RunRecord,
        base: RunOptions,
        part: str,
        changes: dict[str, Any],
    ) -> None:
        values = tiny_record.model_dump()
        (values[part] if part else values).update(changes)
        save_record(RunRecord.model_validate(values), base.results)
        row = self.planned(suite(), base)
        assert row.found is None
        assert row.ready

    def test_nor_one_with_other_parameters_or_another_card(
        self, suite: Callable[..., Path], tiny_record: RunRecord, base: RunOptions
    ) -> None:
        values = tiny_record.model_dump()
        values["protocol"]["params"]["beta"] = 0.5
        save_record(RunRecord.model_validate(values), base.results)
        values = tiny_record.model_dump() | {"run_id": "000000000001"}
        values["backbone"]["card"]["patch_size"] = 7
        save_record(RunRecord.model_validate(values), base.results)
        assert self.planned(suite(), base).found is None


class TestHours:
    def test_from_a_shorter_run_of_its_own(
        self, suite: Callable[..., Path], tiny_record: RunRecord
    ) -> None:
        values = tiny_record.model_dump() | {"partial": True, "seconds": {"fit": 1800.0}}
        values["dataset"] |= {"n_train": 2, "n_val": 1}
        save_record(RunRecord.model_validate(values), Path("kept"))
        rows = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert [row.hours for row in rows] == [pytest.approx(1.0), None]  # six images, not three

    def test_from_another_backbones_run_and_profiles_of_both(
        self, suite: Callable[..., Path], tiny_record: RunRecord
    ) -> None:
        record = tiny_record.model_copy(update={"seconds": {"fit": 3600.0}})
        save_record(record, Path("kept"))
        for name, rate in (("rgb_s14", 50.0), ("hog_s14", 10.0)):
            save_profile(profile(record, backbone=name, images_per_second=rate), Path("kept"))
        rows = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert [row.hours for row in rows] == [pytest.approx(1.0), pytest.approx(5.0)]
        save_profile(
            profile(record, backbone="hog_s14", images_per_second=1.0, size=280), Path("kept")
        )
        again = plan_reproduction(str(suite()), RunOptions("", "", results=Path("kept"))).rows
        assert again[1].hours == pytest.approx(5.0)
        page = reproduction_page(Reproduction("tiny", "two", "A paper", again), Path())
        assert "~5.00" in page and "| 1.00 |" in page


def profile(record: RunRecord, **changes: Any) -> ProfileRecord:
    values = {
        "created": record.created,
        "backbone": record.backbone.name,
        "fingerprint": record.backbone.fingerprint,
        "parameters": 0,
        "size": record.protocol.input_size,
        "precision": "fp32",
        "device": "cpu (some)",
        "batch_size": 16,
        "images_per_second": 1.0,
        "latency_median": 0.01,
        "latency_p95": 0.02,
        "gflops": 6.78,
        "peak_rss_bytes": 1000,
        "peak_cuda_bytes": None,
        "versions": {},
    }
    return ProfileRecord.model_validate({**values, **changes})


def test_a_row_without_a_published_number_says_so() -> None:
    row = ReproducedRow("t", "b", "t", "b")
    assert row.remarks() == ["no published number is known here"]
    assert replace(row, published=(number(note=""),)).remarks() == []
