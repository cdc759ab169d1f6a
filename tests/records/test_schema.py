import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.records.schema import MetricScore, RunRecord
from densebench.records.store import find_record, load_record, load_records, save_record
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")


def files_under(folder: Path) -> list[str]:
    return sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())


class TestRecords:
    def test_saved_and_loaded_are_equal(self, tmp_path: Path, tiny_record: RunRecord) -> None:
        path = save_record(tiny_record, tmp_path)
        assert load_record(path) == tiny_record
        assert path == tiny_record.path(tmp_path)
        assert path.relative_to(tmp_path).as_posix() == (
            f"rgb_s14/tiny_retrieval/reference-seed0-{tiny_record.run_id}.json"
        )
        assert files_under(tmp_path) == [path.relative_to(tmp_path).as_posix()]

    def test_holds_what_repeats_the_run(self, tiny_record: RunRecord) -> None:
        record = tiny_record
        assert record.protocol.params["n_neighbours"] == 4
        assert record.dataset.classes == ("red", "green", "blue")
        assert (record.dataset.n_train, record.dataset.n_val) == (4, 2)
        assert record.backbone.card["id"] == "rgb"
        assert record.backbone.fingerprint != record.backbone.card_hash
        assert {"torch", "numpy", "timm", "densebench", "python"} <= record.versions.keys()
        assert {"load", "check", "fit", "predict", "score"} == record.seconds.keys()
        assert record.peak_rss_bytes.keys() == record.seconds.keys()
        assert all(value > 0 for value in record.peak_rss_bytes.values())

    def test_its_numbers_follow_from_its_confusion_matrix(self, tiny_record: RunRecord) -> None:
        score = tiny_record.score
        (confusion,) = score.confusion
        pixels = 2 * 28 * 28
        void = 2 * 28 * 2  # two of 42 rows, at 28 rows: the first two
        assert sum(map(sum, confusion)) == pixels - void
        hits = [confusion[i][i] for i in range(3)]
        unions = [
            sum(confusion[i]) + sum(row[i] for row in confusion) - confusion[i][i] for i in range(3)
        ]
        wanted = [hit / union for hit, union in zip(hits, unions, strict=True)]
        assert list(score.classes.values()) == pytest.approx(wanted)
        assert score.value == pytest.approx(sum(wanted) / 3)
        accuracy = score.of("pixel_accuracy")
        assert accuracy.value == pytest.approx(sum(hits) / (pixels - void))
        assert accuracy.interval.low <= accuracy.value <= accuracy.interval.high
        assert score.interval.low <= score.value <= score.interval.high

    @pytest.mark.parametrize(
        ("place", "key"),
        [
            ((), "surprise"),
            (("dataset",), "dataset.surprise"),
            (("protocol",), "protocol.surprise"),
            (("scores", 0), "scores.0.surprise"),
            (("scores", 0, "metrics", 0), "scores.0.metrics.0.surprise"),
            (("scores", 0, "metrics", 0, "interval"), "scores.0.metrics.0.interval.surprise"),
        ],
    )
    def test_an_unknown_key_is_refused_in_one_line(
        self, tmp_path: Path, tiny_record: RunRecord, place: tuple[Any, ...], key: str
    ) -> None:
        values = tiny_record.model_dump(mode="json")
        table: Any = values
        for part in place:
            table = table[part]
        table["surprise"] = 1
        file = tmp_path / "record.json"
        file.write_text(json.dumps(values))
        with pytest.raises(DensebenchError) as caught:
            load_record(file)
        assert str(caught.value).startswith(f"{file}: unknown key '{key}'; allowed are ")

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"schema_version": 3}, "key 'schema_version'"),
            ({"seed": "x"}, "key 'seed'"),
            ({"seed": None}, "key 'seed'"),
            ({"scores": []}, "key 'scores'"),
        ],
    )
    def test_a_bad_value_is_refused(
        self, tmp_path: Path, tiny_record: RunRecord, change: dict[str, Any], told: str
    ) -> None:
        file = tmp_path / "record.json"
        file.write_text(json.dumps({**tiny_record.model_dump(mode="json"), **change}))
        with pytest.raises(DensebenchError) as caught:
            load_record(file)
        assert str(caught.value).startswith(f"{file}: {told}")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"{}"])
    def test_what_is_no_record_gives_one_line(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "x.json"
        file.write_bytes(content)
        with pytest.raises(DensebenchError) as caught:
            load_record(file)
        assert str(caught.value).startswith(f"{file}: ")
        assert "\n" not in str(caught.value)

    def test_all_under_a_folder_and_one_by_its_id(
        self, tmp_path: Path, tiny_record: RunRecord
    ) -> None:
        other = tiny_record.model_copy(update={"run_id": "0" * 12, "task": "a task"})
        first, second = save_record(tiny_record, tmp_path), save_record(other, tmp_path)
        assert dict(load_records(tmp_path)) == {
            first: tiny_record,
            second: other.model_copy(update={"checksum": load_record(second).checksum}),
        }
        assert find_record(tmp_path, "rgb_s14", "a task", "0" * 12) == second
        assert find_record(tmp_path, "rgb_s14", "a task", "1" * 12) is None
        assert find_record(tmp_path / "none", "rgb_s14", "a task", "0" * 12) is None


def test_an_infinite_bound_is_an_open_end_that_is_kept_and_said(tiny_record: RunRecord) -> None:
    values = tiny_record.score.main.model_dump()
    values["interval"] |= {"low": 0.0, "high": math.inf}
    metric = MetricScore.model_validate(values)
    assert metric.interval_text == "0.00 to no bound"
    assert MetricScore.model_validate_json(metric.model_dump_json()) == metric


class Listener(Watcher):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class TestRuns:
    """Which runs are done anew, and what the record of one says."""

    @pytest.fixture
    def run(self, tmp_path: Path, tiny_task: Path) -> Callable[..., tuple[RunRecord, bool]]:
        """Runs; gives the record, and whether it was done before."""

        def start(backbone: str = "rgb_s14", task: Path = tiny_task, **options: Any) -> Any:
            told = Listener()
            defaults = {"device": "cpu", "results": tmp_path / "results", "cache": "off"}
            wanted = RunOptions(backbone, str(task), **{**defaults, **options})
            record, path = evaluate(wanted, told)
            assert load_record(path) == record
            return record, any(line.startswith("already done: ") for line in told.lines)

        return start

    def test_a_run_is_done_once(self, run: Callable[..., Any], tmp_path: Path) -> None:
        first, again = run()
        assert not again
        assert run() == (first, True)
        assert run(batch_size=1, workers=0, cache="fp32") == (first, True)
        assert [Path(f).suffix for f in files_under(tmp_path / "results")] == [".npz", ".json"]

    def test_overwriting_gives_the_same_number_under_the_same_name(
        self, run: Callable[..., Any], tmp_path: Path
    ) -> None:
        first, _ = run()
        second, again = run(overwrite=True)
        assert not again
        assert second.scores == first.scores
        assert [Path(f).suffix for f in files_under(tmp_path / "results")] == [".npz", ".json"]

    @pytest.mark.parametrize(
        "options",
        [
            {"seed": 1},
            {"variant": "clean"},
            {"params": {"beta": 0.5}},
            {"backbone": "hog_s14"},
            {"limit": 1},
            {"cache": "fp16"},
        ],
    )
    def test_what_changes_the_number_is_another_run(
        self, run: Callable[..., Any], options: dict[str, Any]
    ) -> None:
        first, _ = run()
        second, again = run(**options)
        assert not again
        assert second.run_id != first.run_id

    def test_a_limited_run_is_partial(self, run: Callable[..., Any]) -> None:
        record, _ = run(limit=1)
        assert (record.partial, record.limit) == (True, 1)
        assert (record.dataset.n_train, record.dataset.n_val) == (1, 1)

    def test_a_limit_that_cuts_nothing_does_not_hide_the_whole_run(
        self, run: Callable[..., Any]
    ) -> None:
        run(limit=100)
        record, _ = run()
        assert not record.partial
        assert record.limit is None

    def test_masks_without_any_label_are_refused(
        self, run: Callable[..., Any], tmp_path: Path, write_dataset: Callable[..., Path]
    ) -> None:
        task = write_dataset(tmp_path / "void")
        for name in ("picture04", "picture05"):
            void = Image.fromarray(np.full((42, 56), 255, dtype=np.uint8))
            void.save(task.parent / "masks" / f"{name}.png")
        with pytest.raises(DensebenchError, match="no labelled pixel"):
            run(task=task)

    def test_no_readable_validation_image_is_refused(
        self, run: Callable[..., Any], tmp_path: Path, write_dataset: Callable[..., Path]
    ) -> None:
        task = write_dataset(tmp_path / "unreadable")
        for name in ("picture04", "picture05"):
            (task.parent / "images" / f"{name}.png").write_bytes(b"")
        for card in (task, task.with_name("linear.toml")):
            with pytest.raises(DensebenchError, match="no validation image"):
                run(task=card, skip_bad=True)

    def test_numbers_are_finite(self, tiny_record: RunRecord) -> None:
        for score in tiny_record.scores:
            for metric in score.metrics:
                numbers = (metric.value, metric.interval.low, metric.interval.high)
                assert all(map(math.isfinite, numbers))
