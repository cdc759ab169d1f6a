import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densebench.features.cache import FeatureCache
from densebench.features.entries import BLOCK_IMAGES, Entry
from densebench.features.writing import AHEAD, EntryWriter
from densebench.host.errors import DensebenchError

N = 3 * BLOCK_IMAGES
PATCHES, MASKS = (N, 2, 2, 3), (N, 4, 4)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=PATCHES).astype(np.float32)
LABELS = RNG.integers(0, 256, MASKS, dtype=np.uint8)


@pytest.fixture
def entry(tmp_path: Path) -> Iterator[Entry]:
    with FeatureCache(tmp_path, 10**9).open({}, PATCHES, MASKS) as opened:
        assert opened is not None
        yield opened


def put(writer: EntryWriter, start: int, end: int, unreadable: dict[str, str]) -> None:
    rows = np.arange(start, end)
    writer.put(rows, FEATURES[rows], LABELS[rows], unreadable)


def test_all_is_there_in_the_end(entry: Entry) -> None:
    with EntryWriter(entry) as writer:
        for start in range(0, N, 5):
            put(writer, start, min(N, start + 5), {"a": "gone"} if start else {})
    assert entry.filled == N
    patches, masks = entry.read(np.arange(N))
    np.testing.assert_array_equal(patches, FEATURES)
    np.testing.assert_array_equal(masks, LABELS)
    assert entry.unreadable == {"a": "gone"}
    assert entry.is_sound()


def test_what_was_put_before_an_interruption_is_kept(entry: Entry) -> None:
    with pytest.raises(KeyboardInterrupt), EntryWriter(entry) as writer:
        put(writer, 0, BLOCK_IMAGES, {})
        put(writer, BLOCK_IMAGES, 2 * BLOCK_IMAGES, {})
        raise KeyboardInterrupt
    assert entry.filled == 2 * BLOCK_IMAGES


def test_an_error_of_the_thread_is_told(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Entry, "write", full)
    with pytest.raises(OSError, match="No space"), EntryWriter(entry) as writer:
        put(writer, 0, 4, {})
    assert entry.filled == 0


def test_extraction_goes_on_meanwhile_and_waits_for_no_more_than_a_few(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, released, threads = Entry.write, threading.Event(), set()

    def slow(*arguments: Any) -> None:
        threads.add(threading.current_thread())
        released.wait(10)
        write(*arguments)

    monkeypatch.setattr(Entry, "write", slow)
    with EntryWriter(entry) as writer:
        for number in range(AHEAD):
            put(writer, number, number + 1, {})
        threading.Timer(0.2, released.set).start()
        start = time.perf_counter()
        put(writer, AHEAD, AHEAD + 1, {})
        assert time.perf_counter() - start > 0.1
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_the_disk_is_waited_for_once_a_block(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    monkeypatch.setattr(Entry, "flush", lambda e: flushes.append(e.filled))
    with EntryWriter(entry) as writer:
        for index in range(N):
            put(writer, index, index + 1, {})
    assert len(flushes) == N // BLOCK_IMAGES


def test_half_precision_is_given_as_it_is_kept(tmp_path: Path) -> None:
    with FeatureCache(tmp_path, 10**9, "float16").open({}, PATCHES, MASKS) as entry:
        assert entry is not None
        entry.write(0, FEATURES, LABELS)
        np.testing.assert_array_equal(entry.as_read(FEATURES), entry.read(np.arange(N))[0])
        with pytest.raises(DensebenchError, match="beyond fp16"):
            entry.as_read(FEATURES * 1e6)
