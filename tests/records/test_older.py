"""Records of schema 1: the committed ones, and what is no such record."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.host.errors import DensebenchError
from densebench.measures.jackknife import average, interval, leave_one_out
from densebench.records.older import converted
from densebench.records.store import (
    COUNTS,
    EVIDENCE,
    beside,
    load_evidence,
    load_record,
    load_records,
)

OLD: dict[str, Any] = {
    "resolution": "input",
    "miou": 0.5,
    "miou_absent_zero": 0.5,
    "miou_absent_left_out": 0.6,
    "repeats": [0.4, 0.6],
    "interval": {"low": 0.4, "high": 0.6, "level": 0.95, "over": "images", "n": 7},
    "pixel_accuracy": 0.8,
    "iou": {"sky": 1.0, "tree": None},
    "mapping": [[0, 1]],
    "confusion": [[[1, 0], [0, 1]]],
}


def old_record(**score: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "protocol": {"variant": "clean"},
        "precision": "tf32",
        "scores": [{**OLD, **score}],
    }


@pytest.fixture
def committed(tmp_path: Path) -> list[Path]:
    """Copies of the records of schema 1 that the repository keeps, with their counts."""
    results = Path(__file__).parents[2] / "leaderboard" / "results"
    old = [
        file
        for file in sorted(results.rglob("*.json"))
        if json.loads(file.read_text()).get("schema_version") == 1 and "scores" in file.read_text()
    ]
    if not old:
        pytest.skip("no record of schema 1 is committed")
    shutil.copytree(results, tmp_path / "results")
    return [tmp_path / "results" / file.relative_to(results) for file in old]


def test_the_committed_ones_say_what_they_said(committed: list[Path]) -> None:
    for path in committed:
        values, record = json.loads(path.read_text()), load_record(path)
        assert record.schema_version == 2
        for old, new in zip(values["scores"], record.scores, strict=True):
            assert new.value == old["miou"]
            assert new.main.repeats == old["repeats"]
            assert new.interval.model_dump(exclude_none=True) == {
                key: value for key, value in old["interval"].items() if value is not None
            }
            for name in ("miou_absent_zero", "miou_absent_left_out", "pixel_accuracy"):
                other = new.of(name)
                assert other is not None and other.value == old[name]
            assert (new.classes, new.mapping, new.confusion) == (
                old["iou"],
                old["mapping"],
                old["confusion"],
            )
        told = record.model_dump(mode="json")
        if told["backbone"]["training"] is not None:
            assert told["backbone"]["training"].pop("view_engine") == ""  # they did not know it
        for later in ("layers", "random_weights"):
            assert told["backbone"].pop(later) is None
        for part in ("run_id", "backbone", "task", "seed", "precision", "seconds"):
            assert told[part] == values[part]


def test_the_numbers_of_the_committed_ones_follow_from_their_counts(committed: list[Path]) -> None:
    for path in committed:
        record = load_record(path)
        evidence, main = load_evidence(path, record), record.score.main
        assert evidence is not None and main.metric is not None
        assert average([evidence.units], main.metric) == pytest.approx(main.value, abs=1e-12)
        left_out = leave_one_out([evidence.units], main.metric)
        bounds = interval(main.value, left_out, main.metric.bounds)
        assert (record.score.interval.low, record.score.interval.high) == pytest.approx(bounds)


def test_exchanged_counts_are_refused(committed: list[Path]) -> None:
    first, second, *_ = committed
    shutil.copy(beside(second, COUNTS), beside(first, COUNTS))
    with pytest.raises(DensebenchError, match="not the evidence of the record") as caught:
        load_evidence(first, load_record(first))
    assert str(caught.value).startswith(f"{beside(first, COUNTS)}: ")


def test_the_evidence_of_a_later_run_is_not_of_a_record_of_schema_1(committed: list[Path]) -> None:
    path, other, *_ = committed
    beside(path, EVIDENCE).write_bytes(beside(other, COUNTS).read_bytes())
    assert load_evidence(path, load_record(path)) is not None
    beside(path, COUNTS).unlink()
    assert load_evidence(path, load_record(path)) is None


def test_an_edited_number_is_refused_by_its_counts(committed: list[Path]) -> None:
    path = committed[0]
    values = json.loads(path.read_text())
    values["scores"][0]["miou"] += 0.01
    path.write_text(json.dumps(values))
    with pytest.raises(DensebenchError, match="the mIoU of the record"):
        load_evidence(path, load_record(path))


def test_all_numbers_have_a_place() -> None:
    record = converted(old_record())
    assert (record["schema_version"], record["tf32"]) == (2, True)
    (score,) = record["scores"]
    assert set(score) == {"resolution", "metrics", "classes", "mapping", "confusion"}
    told = [(m["name"], m["value"], m["parameters"]) for m in score["metrics"]]
    assert told == [
        ("miou", 0.5, {"absent": "zero"}),
        ("miou_absent_zero", 0.5, {"absent": "zero"}),
        ("miou_absent_left_out", 0.6, {"absent": "nan"}),
        ("pixel_accuracy", 0.8, {}),
    ]


@pytest.mark.parametrize(
    ("variant", "zero", "left_out", "rule"),
    [
        ("clean", 0.5, 0.6, "zero"),  # whatever the variant, the number that equals the ranked one
        ("reference", 0.4, 0.5, "nan"),
        ("clean", 0.5, 0.5, "nan"),
        ("cached", 0.5, 0.5, "nan"),
        ("reference", 0.5, 0.5, "zero"),
    ],
)
def test_how_an_absent_class_counts(variant: str, zero: float, left_out: float, rule: str) -> None:
    record = old_record(miou_absent_zero=zero, miou_absent_left_out=left_out)
    record["protocol"]["variant"] = variant
    assert converted(record)["scores"][0]["metrics"][0]["parameters"] == {"absent": rule}


def test_records_of_the_present_schema_are_as_they_are() -> None:
    values = {"schema_version": 2, "anything": 1}
    assert converted(values) is values


@pytest.mark.parametrize(
    "broken",
    [
        {"schema_version": 1},
        {"schema_version": 1, "protocol": {"variant": "clean"}, "scores": [{}]},
        {"schema_version": 1, "protocol": "clean", "precision": "fp32", "scores": [1]},
        {"schema_version": 1, "protocol": {"variant": "clean"}, "precision": "", "scores": [None]},
        {**old_record(), "scores": 3},
        {**old_record(), "scores": [{**OLD, "surprise": 1}]},
    ],
)
def test_what_is_no_record_of_schema_1_gives_one_line(tmp_path: Path, broken: Any) -> None:
    file = tmp_path / "x.json"
    file.write_text(json.dumps(broken))
    with pytest.raises(DensebenchError) as caught:
        load_record(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_the_committed_counts_are_read_as_evidence(committed: list[Path]) -> None:
    for path, record in load_records(committed[0].parents[2]):
        if path in committed:
            evidence = load_evidence(path, record)
            assert evidence is not None
            classes = len(record.dataset.classes)
            assert evidence.vectors.shape[2] == 3 * classes
            with np.load(beside(path, COUNTS)) as arrays:
                assert arrays["pixels"].shape[2:] == (3, classes)
                np.testing.assert_array_equal(arrays["pixels"].ravel(), evidence.vectors.ravel())
