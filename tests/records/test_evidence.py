"""The counts beside a record: what they are, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from densebench.records.counts import ImageCounts, counts_file, load_counts, save_counts

from densebench.datasets import Dataset, load_dataset
from densebench.host.errors import DensebenchError
from densebench.measures.jackknife import average_miou, interval, leave_one_out
from densebench.measures.segmentation import class_counts
from densebench.records.schema import RunRecord
from densebench.records.store import save_record
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
def kept(tmp_path: Path, tiny_record: RunRecord) -> tuple[Path, ImageCounts]:
    """The path of a record with counts that sum to it."""
    path = save_record(tiny_record, tmp_path)
    whole = class_counts(np.array(tiny_record.score.confusion[0]))
    first = whole // 3
    counts = ImageCounts(("a", "b"), "zero", np.stack([first, whole - first])[None].astype("u4"))
    save_counts(path, tiny_record.run_id, counts)
    return path, counts


def test_of_a_run_they_give_its_number(tmp_path: Path, colour_task: Path) -> None:
    record, path = evaluate(RunOptions("rgb_s14", str(colour_task), results=tmp_path))
    counts = load_counts(path, record)
    assert counts is not None
    assert counts.names == tuple(f"picture{i:02d}" for i in range(6, 10))
    assert counts.pixels.shape == (1, 4, 3, 3)
    assert average_miou([counts.pixels], counts.absent) == pytest.approx(record.score.miou)
    assert counts_file(path).stat().st_size < 2000


def test_of_a_dataset_that_names_groups_interval_and_counts_are_over_these(
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
    counts = load_counts(path, record)
    assert counts is not None
    assert (counts.over, counts.units.shape) == ("sequences", (1, 2, 3, 3))
    bounds = interval(record.score.miou, leave_one_out([counts.units], "zero"), (0.0, 1.0))
    assert (record.score.interval.low, record.score.interval.high) == pytest.approx(bounds)


def test_of_every_repeat(tmp_path: Path, colour_task: Path) -> None:
    card = colour_task.with_name("clusters.toml")
    card.write_text(CLUSTERS)
    record, path = evaluate(RunOptions("rgb_s14", str(card), results=tmp_path))
    counts = load_counts(path, record)
    assert counts is not None
    assert counts.pixels.shape == (2, 4, 3, 3)
    assert average_miou([counts.pixels], counts.absent) == pytest.approx(record.score.miou)


def test_are_written_before_the_record(
    tmp_path: Path, colour_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("densebench.run.record.save_record", fail)
    folder = tmp_path / "results"
    with pytest.raises(KeyboardInterrupt):
        evaluate(RunOptions("rgb_s14", str(colour_task), results=folder))
    assert len(list(folder.rglob("*.counts.npz"))) == 1
    assert not list(folder.rglob("*.json"))


def test_saved_and_loaded_are_equal(kept: tuple[Path, ImageCounts], tiny_record: RunRecord) -> None:
    path, counts = kept
    loaded = load_counts(path, tiny_record)
    assert loaded is not None
    assert (loaded.names, loaded.absent) == (counts.names, counts.absent)
    np.testing.assert_array_equal(loaded.pixels, counts.pixels)
    assert loaded.pixels.dtype == np.uint32


def test_groups_are_kept_and_older_files_have_none(
    kept: tuple[Path, ImageCounts], tiny_record: RunRecord
) -> None:
    path, counts = kept
    assert (counts.groups, counts.over) == (None, "images")
    assert "groups" not in np.load(counts_file(path))
    grouped = replace(counts, groups=("one", "one"), group_name="sequences")
    save_counts(path, tiny_record.run_id, grouped)
    loaded = load_counts(path, tiny_record)
    assert loaded is not None
    assert (loaded.groups, loaded.over) == (("one", "one"), "sequences")
    np.testing.assert_array_equal(loaded.units, counts.pixels.sum(axis=1, keepdims=True))


def test_a_record_of_before_has_none(tmp_path: Path, tiny_record: RunRecord) -> None:
    assert load_counts(save_record(tiny_record, tmp_path), tiny_record) is None


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = counts_file(path)
    with np.load(file) as arrays:
        values = dict(arrays)
    change(values)
    np.savez_compressed(file, **values)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(run_id=np.array("0" * 12)),
        lambda values: values.update(pixels=values["pixels"] + np.uint32(1)),
        lambda values: values.update(pixels=values["pixels"].repeat(2, axis=0)),
    ],
)
def test_those_of_another_run_are_refused(
    kept: tuple[Path, ImageCounts], tiny_record: RunRecord, change: Any
) -> None:
    path, _ = kept
    _rewrite(path, change)
    with pytest.raises(DensebenchError, match="not the counts of the record beside it"):
        load_counts(path, tiny_record)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("names"),
        lambda values: values.update(absent=np.array("one")),
        lambda values: values.update(pixels=values["pixels"][0]),
        lambda values: values.update(pixels=values["pixels"].astype(float)),
        lambda values: values.update(names=np.array(["a"])),
        lambda values: values.update(names=np.array([{"a": 1}, None], dtype=object)),
        lambda values: values.update(groups=np.array(["one"]), group_name=np.array("films")),
        lambda values: values.update(groups=np.array(["one", "two"])),
    ],
)
def test_what_is_not_of_the_format_is_refused(
    kept: tuple[Path, ImageCounts], tiny_record: RunRecord, change: Any
) -> None:
    path, _ = kept
    _rewrite(path, change)
    with pytest.raises(DensebenchError, match="not the counts of a run") as caught:
        load_counts(path, tiny_record)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_half_a_file_is_refused(
    kept: tuple[Path, ImageCounts], tiny_record: RunRecord, keep: int
) -> None:
    path, _ = kept
    file = counts_file(path)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DensebenchError, match="not the counts of a run"):
        load_counts(path, tiny_record)
