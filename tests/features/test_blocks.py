"""Blocks that several processes write at once: each once, and what is whole counts after a kill."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from densebench.features.blocks import BlockNotes, noted, recover, shares
from densebench.features.entries import BLOCK_IMAGES, NOTES, Entry, read_meta

from .test_entries import described

N = 4 * BLOCK_IMAGES + 3


def entry_of(folder: Path) -> Entry:
    folder.mkdir(exist_ok=True)
    if not (folder / "meta.json").exists():
        Entry(folder, {**described(), "patches": [N, 1, 1, 2], "masks": [N, 2, 2]}).commit(0)
    return Entry(folder, read_meta(folder))


def write(entry: Entry, name: str, blocks: list[int], bad: str = "") -> None:
    images = [i for i in range(N) if i // BLOCK_IMAGES in blocks]
    notes = BlockNotes(entry, name, images, f"device {name}")
    entry.unreadable |= {bad: "broken"} if bad else {}
    for image in images:
        patches = np.full((1, 1, 1, 2), image, dtype=np.float32)
        entry.write(image, patches, np.full((1, 2, 2), image % 7, dtype=np.uint8))
        notes.commit(image + 1)


def values(entry: Entry) -> list[float]:
    return entry.read(np.arange(len(entry)))[0][:, 0, 0, 0].tolist()


def test_two_processes_and_what_one_alone_writes(tmp_path: Path) -> None:
    first, second = entry_of(tmp_path / "a"), entry_of(tmp_path / "a")
    write(second, "1", [1, 3], "x")
    write(first, "0", [0, 2, 4])
    first.take(noted(first.folder), verify=False)
    assert (first.filled, first.missing, first.unreadable) == (N, [], {"x": "broken"})
    assert first.devices == ["device 0", "device 1"]
    assert not list(first.folder.glob(NOTES))
    again = entry_of(tmp_path / "a")
    assert again.is_sound()
    assert values(again) == [*range(N)]
    alone = entry_of(tmp_path / "b")
    write(alone, "0", [*range(5)])
    alone.commit(N)
    for name in ("patches.npy", "masks.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert read_meta(alone.folder)["checksums"] == read_meta(again.folder)["checksums"]


def test_a_kill_leaves_what_is_whole(tmp_path: Path) -> None:
    write(entry_of(tmp_path), "0", [0])
    write(entry_of(tmp_path), "1", [2, 4])
    with (tmp_path / NOTES.replace("*", "1")).open("a") as file:
        file.write('{"number": 3, "checks')
    for _ in range(2):  # it may be killed again
        entry = entry_of(tmp_path)
        recover(entry)
        assert (entry.filled, entry.beyond) == (BLOCK_IMAGES, {2, 4})
        assert {image // BLOCK_IMAGES for image in entry.missing} == {1, 3}
        assert [file.name for file in tmp_path.glob(NOTES)] == ["blocks-kept.jsonl"]
    write(entry, "0", [1, 3])
    entry.commit(N)
    assert entry.is_sound()
    assert values(entry_of(tmp_path)) == [*range(N)]
    assert not list(tmp_path.glob(NOTES))


def test_what_is_not_what_was_written_does_not_count(tmp_path: Path) -> None:
    write(entry_of(tmp_path), "0", [0, 1, 2])
    content = bytearray((tmp_path / "patches.npy").read_bytes())
    content[-N * 8 + BLOCK_IMAGES * 8] ^= 1  # in the second block
    (tmp_path / "patches.npy").write_bytes(content)
    entry = entry_of(tmp_path)
    recover(entry)
    assert (entry.filled, entry.beyond) == (BLOCK_IMAGES, {2})


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "3",
        "\x00",
        '{"number": 1}',
        '{"number": "1", "checksum": 2, "device": "d", "unreadable": {}}',
        '{"number": 1, "checksum": 2, "device": "d", "unreadable": 3}',
        '{"number": -1, "checksum": 2, "device": "d", "unreadable": {}}',
        '{"number": 99, "checksum": 2, "device": "d", "unreadable": {}}',
    ],
)
def test_lines_that_are_no_notes(tmp_path: Path, line: str) -> None:
    entry = entry_of(tmp_path)
    (tmp_path / "blocks-7.jsonl").write_text(line + "\n")
    recover(entry)
    assert (entry.filled, entry.beyond) == (0, set())


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 5), st.data())
def test_shares_are_whole_blocks_and_the_batches_of_one_process(
    n: int, size: int, count: int, data: Any
) -> None:
    blocks = range(-(-n // BLOCK_IMAGES))
    there = data.draw(st.sets(st.sampled_from(blocks)))
    missing = [i for i in range(n) if i // BLOCK_IMAGES not in there]
    found = shares(missing, size, count)
    assert sorted(image for part in found for image in part) == missing
    alone = {tuple(missing[start : start + size]) for start in range(0, len(missing), size)}
    for part in found:
        assert {tuple(part[start : start + size]) for start in range(0, len(part), size)} <= alone
    owners = [{image // BLOCK_IMAGES for image in part} for part in found]
    assert sum(map(len, owners)) == len(set().union(*owners))
