"""From ids to classes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from densebench.datasets.classes import Classes
from densebench.datasets.masks import LookupReader, identity_table, lookup_table, ranges
from densebench.host.errors import DensebenchError


def test_ids_become_classes_and_void(tmp_path: Path) -> None:
    reader = LookupReader(lookup_table({7: 0, 8: 1}, 255, {0, 9}))
    Image.fromarray(np.array([[7, 8], [0, 9]], np.uint8)).save(tmp_path / "mask.png")
    assert reader.read(tmp_path / "mask.png").tolist() == [[0, 1], [255, 255]]


def test_an_id_that_is_no_class_is_told_with_those_that_are() -> None:
    reader = LookupReader(identity_table(Classes(("sky", "road"), 255)))
    ids = np.array([[0, 1, 255, 2, 3]], np.uint8)
    with pytest.raises(DensebenchError, match=r"m.png: .* no class: 2, 3; allowed are 0-1, 255"):
        reader.decode(ids, Path("m.png"))


def test_other_rules_are_other_bytes() -> None:
    tables = [lookup_table({1: 0}, 255, {0}), lookup_table({1: 1}, 255, {0})]
    one, other = (LookupReader(table).rules(Path("m.png")) for table in tables)
    assert one != other


@given(st.sets(st.integers(0, 300), min_size=1))
def test_ranges_name_each_number_once(values: set[int]) -> None:
    told: list[int] = []
    for part in ranges(values).split(", "):
        first, _, last = part.partition("-")
        told.extend(range(int(first), int(last or first) + 1))
    assert told == sorted(values)
