"""One entry: what counts is whole blocks, each with a checksum, and where it was computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.features.entries import BLOCK_IMAGES, Entry, entry_info, read_meta
from densebench.host.errors import DensebenchError

N = BLOCK_IMAGES + 4
VIEW = {"transform": "Squash", "size": 28}


def described(dtype: str = "float32") -> dict[str, Any]:
    return {
        "spec": {"view": VIEW},
        "dtype": dtype,
        "patches": [N, 1, 1, 2],
        "masks": [N, 2, 2],
        "filled": 0,
        "checksums": [],
        "unreadable": {},
    }


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return Entry(tmp_path, described())


def put(entry: Entry, start: int, stop: int) -> None:
    patches = np.arange(start, stop, dtype=np.float32)[:, None, None, None] + np.zeros((1, 1, 2))
    entry.write(start, patches, np.full((stop - start, 2, 2), start, dtype=np.uint8))


@pytest.mark.parametrize(
    ("end", "filled"), [(3, 0), (BLOCK_IMAGES, BLOCK_IMAGES), (N - 1, BLOCK_IMAGES), (N, N)]
)
def test_whole_blocks_count_and_the_last_one(entry: Entry, end: int, filled: int) -> None:
    put(entry, 0, end)
    entry.commit(end)
    assert (entry.filled, entry.is_sound()) == (filled, True)


def test_it_is_the_same_when_it_is_opened_again(entry: Entry, tmp_path: Path) -> None:
    entry.note_device("a GPU")
    put(entry, 0, N)
    entry.unreadable["x"] = "broken"
    entry.commit(N)
    again = Entry(tmp_path, read_meta(tmp_path))
    assert (again.filled, again.devices, again.unreadable) == (N, ["a GPU"], {"x": "broken"})
    assert again.is_sound()
    patches, _ = again.read(np.array([17, 2]))
    assert patches[:, 0, 0, 0].tolist() == [17, 2]


def test_one_changed_byte_of_a_mask_shows(entry: Entry, tmp_path: Path) -> None:
    put(entry, 0, N)
    entry.commit(N)
    file = tmp_path / "masks.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not Entry(tmp_path, read_meta(tmp_path)).is_sound()


def test_a_second_device_is_noted_beside_the_first(entry: Entry) -> None:
    entry.note_device("a GPU")
    entry.note_device("a CPU")
    assert entry.devices == ["a CPU", "a GPU"]


def test_beyond_half_precision(tmp_path: Path) -> None:
    half = Entry(tmp_path, described("float16"))
    with pytest.raises(DensebenchError, match="beyond fp16"):
        half.write(0, np.full((1, 1, 1, 2), 1e5, dtype=np.float32), np.zeros((1, 2, 2), np.uint8))


@pytest.mark.parametrize("form", ["float16", "bfloat16"])
def test_what_must_come_back_as_it_is(form: str, tmp_path: Path) -> None:
    entry = Entry(tmp_path, {**described(form), "exact": True})
    for value in (0.1, 1.0):
        patches = np.full((1, 1, 1, 2), value, dtype=np.float32)
        if value != 1:
            with pytest.raises(DensebenchError, match="--cache off"):
                entry.write(0, patches, np.zeros((1, 2, 2), np.uint8))
            continue
        entry.write(0, patches, np.zeros((1, 2, 2), np.uint8))
        assert (entry.read(np.array([0]))[0] == entry.as_read(patches)).all()
        assert (entry.read(np.array([0]))[0] == 1).all()


def test_what_has_no_description_is_no_entry(entry: Entry, tmp_path: Path) -> None:
    assert entry_info(tmp_path) is None
    entry.commit(0)
    found = entry_info(tmp_path)
    assert found is not None
    assert (found.images, found.filled, found.spec) == (N, 0, {"view": VIEW})
