"""Whole splits, and published lists by their content."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.cards import find_task
from densebench.datasets import published_lists
from densebench.datasets.published_lists import PublishedList
from densebench.measures.base import Evidence
from densebench.records.schema import RunRecord
from densebench.submission.official_images import image_problems

EVIDENCE = Evidence(("a", "b", "c"), np.zeros((1, 3, 9), np.uint32))


def found(record: RunRecord, card: Any = None, evidence: Evidence = EVIDENCE) -> str:
    return "\n".join(image_problems(record, card, evidence))


@pytest.fixture
def record(record_file: Callable) -> RunRecord:
    return RunRecord(**json.loads(record_file().read_text()))


def with_data(record: RunRecord, **data: Any) -> RunRecord:
    return record.model_copy(update={"dataset": record.dataset.model_copy(update=data)})


def test_partial_runs_and_images_that_were_left_out(record: RunRecord) -> None:
    assert found(record) == ""
    assert "--limit 2" in found(record.model_copy(update={"partial": True, "limit": 2}))
    assert "1 images could not be read, such as a" in found(with_data(record, skipped={"a": "?"}))
    assert "evidence is of 3 images" in found(with_data(record, n_val=4))
    twice = Evidence(("a", "a", "b"), EVIDENCE.vectors)
    assert "an image twice" in found(record, evidence=twice)


def test_numbers_of_images_are_the_owners(record: RunRecord) -> None:
    card = find_task(Path(__file__).parents[2] / "tasks" / "ade20k_knn.toml").card
    evidence = Evidence(tuple(map(str, range(2000))), np.zeros((1, 2000, 3), np.uint32))
    whole = with_data(record, kind="ade20k", n_train=20_210, n_val=2000)
    assert found(whole, card, evidence) == ""
    told = found(with_data(whole, n_train=100), card, evidence)
    assert told == "dataset.n_train is 100, and the official split has 20,210"
    assert "dataset.kind is voc" in found(with_data(whole, kind="voc"), card, evidence)
    own = with_data(whole, subset="own:1/8", n_train=2526)
    assert "no published list" in found(own, card, evidence)
    listed = with_data(whole, train_names=["a"])
    assert "a list of one's own" in found(listed, card, evidence)


def test_published_lists_are_known_by_their_content(
    record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"b\na\n").hexdigest()
    entry = PublishedList("file_sets/folder/1_div_8/train_8_42.txt", 4, 2, digest)
    monkeypatch.setattr(published_lists, "published_lists", lambda: (entry,))
    card = find_task(Path(__file__).parents[2] / "tasks" / "scenes_incontext.toml").card
    card = card.model_copy(update={"dataset": card.dataset.model_copy(update={"kind": "folder"})})
    chosen = {"subset": "1/8", "subset_seed": 42, "n_train": 2, "train_names": ["b", "a"]}
    assert found(with_data(record, **chosen), card) == ""
    other = found(with_data(record, **{**chosen, "train_names": ["a", "b"]}), card)
    assert "not the 2 of the published list" in other
    unknown = found(with_data(record, **{**chosen, "subset_seed": 7}), card)
    assert "dataset.subset_seed is 7, and lists 1/8 of folder are published for 42" in unknown


def test_a_task_on_a_share_is_not_done_on_all(record: RunRecord) -> None:
    card = find_task(Path(__file__).parents[2] / "tasks" / "coco_stuff_knn.toml").card
    whole = with_data(record, kind="coco_stuff", n_train=118_287, n_val=3)
    assert "is on own:1/10 of the images" in found(whole, card)
