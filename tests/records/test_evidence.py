"""The evidence beside a record: what it is, and what is refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.datasets import Dataset, load_dataset
from densebench.host.errors import DensebenchError
from densebench.measures import metrics
from densebench.measures.base import Evidence, Metric
from densebench.measures.jackknife import average, interval, leave_one_out
from densebench.measures.segmentation import MeanIoU, class_counts
from densebench.records.schema import RunRecord
from densebench.records.store import (
    EVIDENCE,
    Companions,
    beside,
    load_evidence,
    load_record,
    save_record,
)
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")

CLUSTERS = """name = "tiny_clusters"
protocol = "overclustering"
[dataset]
kind = "folder"
root = "."
images = "images"
masks = "masks"
train = "train.txt"
val = "val.txt"
classes = ["red", "green", "blue"]
[params]
input_size = 28
mask_size = 28
K = 3
pca_dim = 3
seeds = 2
"""


@pytest.fixture
def kept(tmp_path: Path, tiny_record: RunRecord) -> tuple[Path, Evidence]:
    """The path of a record with evidence that sums to it."""
    whole = class_counts(np.array(tiny_record.score.confusion[0])).ravel()
    first = whole // 3
    evidence = Evidence(("a", "b"), np.stack([first, whole - first])[None].astype("u4"))
    return save_record(tiny_record, tmp_path, Companions(evidence)), evidence


def test_of_a_run_it_gives_every_number(tmp_path: Path, colour_task: Path) -> None:
    record, path = evaluate(RunOptions("rgb_s14", str(colour_task), results=tmp_path))
    evidence = load_evidence(path, record)
    assert evidence is not None
    assert evidence.names == tuple(f"picture{i:02d}" for i in range(6, 10))
    assert (evidence.vectors.shape, evidence.vectors.dtype) == ((1, 4, 9), np.uint32)
    names = [score.name for score in record.score.metrics]
    assert names == ["miou", "miou_absent_zero", "miou_absent_left_out", "pixel_accuracy"]
    for score in record.score.metrics:
        assert score.metric is not None
        assert average([evidence.units], score.metric) == score.value
        bounds = interval(score.value, leave_one_out([evidence.units], score.metric), (0, 1))
        assert (score.interval.low, score.interval.high) == bounds
    assert beside(path, EVIDENCE).stat().st_size < 2000


def test_of_a_dataset_that_names_groups_interval_and_evidence_are_over_these(
    tmp_path: Path, colour_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grouped(*arguments: Any, **options: Any) -> Dataset:
        found = load_dataset(*arguments, **options)
        val = replace(found.val, groups=("first", "second", "first", "second"))
        return replace(found, val=val, group_name="sequences")

    monkeypatch.setattr("densebench.run.images.load_dataset", grouped)
    record, path = evaluate(RunOptions("rgb_s14", str(colour_task), results=tmp_path))
    assert record.dataset.groups == "sequences"
    assert (record.score.interval.over, record.score.interval.n) == ("sequences", 2)
    evidence = load_evidence(path, record)
    assert evidence is not None
    assert (evidence.over, evidence.units.shape) == ("sequences", (1, 2, 9))
    bounds = interval(record.score.value, leave_one_out([evidence.units], MeanIoU()), (0.0, 1.0))
    assert (record.score.interval.low, record.score.interval.high) == pytest.approx(bounds)


def test_of_every_repeat(tmp_path: Path, colour_task: Path) -> None:
    card = colour_task.with_name("clusters.toml")
    card.write_text(CLUSTERS)
    record, path = evaluate(RunOptions("rgb_s14", str(card), results=tmp_path))
    evidence = load_evidence(path, record)
    assert evidence is not None
    assert evidence.vectors.shape == (2, 4, 9)
    assert average([evidence.units], MeanIoU()) == pytest.approx(record.score.value)


def test_is_written_before_the_record(
    tmp_path: Path, colour_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, replace_by = tmp_path / "results", Path.replace

    def fail(file: Path, target: Path) -> Path:
        if target.suffix == ".json" and target.is_relative_to(folder):
            raise KeyboardInterrupt
        return replace_by(file, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        evaluate(RunOptions("rgb_s14", str(colour_task), results=folder))
    assert len(list(folder.rglob("*.evidence.npz"))) == 1
    assert not list(folder.rglob("*.json"))


def test_saved_and_loaded_are_equal(kept: tuple[Path, Evidence]) -> None:
    path, evidence = kept
    loaded = load_evidence(path, load_record(path))
    assert loaded is not None
    assert loaded.names == evidence.names
    np.testing.assert_array_equal(loaded.vectors, evidence.vectors)
    assert loaded.vectors.dtype == np.uint32


def test_groups_are_kept_where_there_are_some(
    kept: tuple[Path, Evidence], tmp_path: Path, tiny_record: RunRecord
) -> None:
    path, evidence = kept
    assert (evidence.groups, evidence.over) == (None, "images")
    assert "groups" not in np.load(beside(path, EVIDENCE))
    grouped = replace(evidence, groups=("one", "one"), group_name="sequences")
    save_record(tiny_record, tmp_path, Companions(grouped))
    loaded = load_evidence(path, load_record(path))
    assert loaded is not None
    assert (loaded.groups, loaded.over) == (("one", "one"), "sequences")
    np.testing.assert_array_equal(loaded.units, evidence.vectors.sum(axis=1, keepdims=True))


def test_a_record_without_has_none(tmp_path: Path, tiny_record: RunRecord) -> None:
    assert load_evidence(save_record(tiny_record, tmp_path), tiny_record) is None


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    file = beside(path, EVIDENCE)
    with np.load(file) as arrays:
        values = dict(arrays)
    change(values)
    np.savez_compressed(file, **values)
    return file


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(run_id=np.array("0" * 12)),
        lambda values: values.update(vectors=values["vectors"] + np.uint32(1)),
        lambda values: values.update(vectors=values["vectors"].repeat(2, axis=0)),
    ],
)
def test_that_of_another_run_is_refused(
    kept: tuple[Path, Evidence], tiny_record: RunRecord, change: Any
) -> None:
    file = _rewrite(kept[0], change)
    with pytest.raises(DensebenchError, match="not the evidence of the record beside it") as caught:
        load_evidence(kept[0], tiny_record)
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("place", range(4))
def test_a_number_that_does_not_follow_is_refused(
    kept: tuple[Path, Evidence], tiny_record: RunRecord, place: int
) -> None:
    values = tiny_record.model_dump()
    metric = values["scores"][0]["metrics"][place]
    metric["value"] += 1e-6
    with pytest.raises(DensebenchError, match=f"the {metric['title']} of the record") as caught:
        load_evidence(kept[0], RunRecord.model_validate(values))
    assert str(caught.value).startswith(f"{beside(kept[0], EVIDENCE)}: ")


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("names"),
        lambda values: values.update(vectors=values["vectors"][0]),
        lambda values: values.update(vectors=values["vectors"].astype(complex)),
        lambda values: values.update(names=np.array(["a"])),
        lambda values: values.update(names=np.array([{"a": 1}, None], dtype=object)),
        lambda values: values.update(groups=np.array(["one"]), group_name=np.array("films")),
        lambda values: values.update(groups=np.array(["one", "two"])),
    ],
)
def test_what_is_not_of_the_format_is_refused(
    kept: tuple[Path, Evidence], tiny_record: RunRecord, change: Any
) -> None:
    _rewrite(kept[0], change)
    with pytest.raises(DensebenchError, match="not the evidence of a run") as caught:
        load_evidence(kept[0], tiny_record)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_half_a_file_is_refused(
    kept: tuple[Path, Evidence], tiny_record: RunRecord, keep: int
) -> None:
    file = beside(kept[0], EVIDENCE)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DensebenchError, match="not the evidence of a run"):
        load_evidence(kept[0], tiny_record)


@dataclass(frozen=True)
class RMSE(Metric):
    name: str = "rmse"
    title: str = "RMSE"
    higher: bool = False
    bounds: tuple[float, float] = (0.0, math.inf)

    def finish(self, sums: Any) -> Any:
        return np.sqrt(sums[..., 0] / sums[..., 1])


def in_metres(record: RunRecord, value: float) -> RunRecord:
    """The record as that of a protocol that has this metric alone."""
    values = record.model_dump()
    interval_of = values["scores"][0]["metrics"][0]["interval"]
    metric = {"name": "rmse", "title": "RMSE", "unit": "m", "higher": False, "value": value}
    metric |= {"repeats": [value], "interval": interval_of}
    values["scores"] = [{"resolution": "input", "metrics": [metric]}]
    return RunRecord.model_validate(values)


class TestFloats:
    """Evidence of a metric of somebody else's, in floats."""

    evidence = Evidence(("a", "b"), np.array([[[0.1, 3.0], [1e-30, 2.0]]]))

    def saved(self, record: RunRecord, results: Path) -> tuple[Path, RunRecord]:
        path = save_record(record, results, Companions(self.evidence))
        return path, load_record(path)

    def test_are_kept_as_they_are_where_nobody_knows_the_metric(
        self, tmp_path: Path, tiny_record: RunRecord
    ) -> None:
        unknown = in_metres(tiny_record, 0.5)
        unknown.scores[0].metrics[0] = unknown.score.main.model_copy(update={"name": "theirs"})
        path, record = self.saved(unknown, tmp_path)
        assert record.score.main.metric is None
        loaded = load_evidence(path, record)
        assert loaded is not None
        np.testing.assert_array_equal(loaded.vectors, self.evidence.vectors)
        assert loaded.vectors.dtype == np.float64

    def test_give_the_number_where_its_package_is_installed(
        self, tmp_path: Path, tiny_record: RunRecord, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(metrics.OWN, "rmse", RMSE)
        path, record = self.saved(in_metres(tiny_record, math.sqrt(0.1 / 5)), tmp_path)
        assert record.score.main.metric == RMSE()
        assert load_evidence(path, record) is not None
        path, record = self.saved(in_metres(tiny_record, 0.15), tmp_path)
        with pytest.raises(DensebenchError, match="the RMSE of the record beside it"):
            load_evidence(path, record)
