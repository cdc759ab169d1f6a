import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from densebench.features import cache as cache_module
from densebench.features.cache import (
    FREE_MARGIN,
    FeatureCache,
    age,
    feature_cache,
)
from densebench.features.entries import BLOCK_IMAGES, Entry
from densebench.host.errors import DensebenchError

pytestmark = pytest.mark.usefixtures("own_places")

N, SIDE, DIM, SIZE = 40, 2, 3, 4
PATCHES, MASKS = (N, SIDE, SIDE, DIM), (N, SIZE, SIZE)
N_BYTES = N * (SIDE * SIDE * DIM * 4 + SIZE * SIZE)
SPEC = {"view": {"transform": "Squash", "size": SIZE}, "backbone": "b"}
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=PATCHES).astype(np.float32)
LABELS = RNG.integers(0, 256, MASKS, dtype=np.uint8)


@pytest.fixture
def said(ear: Any) -> list[str]:
    lines: list[str] = ear.lines
    return lines


@pytest.fixture
def make(tmp_path: Path, ear: Any) -> Callable[..., FeatureCache]:
    def new(limit: int = 10**9, dtype: str = "float32", folder: str = "kept") -> FeatureCache:
        return FeatureCache(tmp_path / folder, limit, dtype, ear)

    return new


def fill(cache: FeatureCache, spec: dict[str, Any] = SPEC, end: int = N, step: int = 20) -> int:
    """Fill up to ``end``; returns where it began."""
    with cache.open(spec, PATCHES, MASKS) as entry:
        assert entry is not None
        begin = entry.filled
        for start in range(begin, end, step):
            stop = min(start + step, end)
            entry.write(start, FEATURES[start:stop], LABELS[start:stop])
            entry.commit(stop)
        return begin


def stored(cache: FeatureCache, spec: dict[str, Any] = SPEC) -> tuple[np.ndarray, np.ndarray]:
    with cache.open(spec, PATCHES, MASKS) as entry:
        assert entry is not None
        assert entry.filled == N
        return entry.read(np.arange(N))


def the_folder(cache: FeatureCache) -> Path:
    (entry,) = cache.entries()
    return entry.folder


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.npy"))}


class TestFilling:
    def test_what_was_written_comes_back_exactly(self, make: Callable[..., FeatureCache]) -> None:
        assert fill(make()) == 0
        patches, masks = stored(make())
        assert patches.dtype == np.float32
        assert masks.dtype == np.uint8
        np.testing.assert_array_equal(patches, FEATURES)
        np.testing.assert_array_equal(masks, LABELS)

    def test_any_order_and_selection(self, make: Callable[..., FeatureCache]) -> None:
        fill(make())
        order = np.array([39, 0, 17, 17])
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            patches, masks = entry.read(order)
        np.testing.assert_array_equal(patches, FEATURES[order])
        np.testing.assert_array_equal(masks, LABELS[order])

    def test_a_copy_is_read(self, make: Callable[..., FeatureCache]) -> None:
        fill(make())
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            patches, masks = entry.read(np.arange(2))
        patches[:], masks[:] = 0, 0
        np.testing.assert_array_equal(stored(make())[0], FEATURES)

    def test_half_precision_rounds_the_same_each_time(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        fill(make(dtype="float16"))
        for _ in range(2):
            patches, masks = stored(make(dtype="float16"))
            assert patches.dtype == np.float32
            np.testing.assert_array_equal(patches, FEATURES.astype(np.float16).astype(np.float32))
            np.testing.assert_array_equal(masks, LABELS)

    def test_precisions_do_not_share_an_entry(self, make: Callable[..., FeatureCache]) -> None:
        fill(make(dtype="float16"))
        assert fill(make(dtype="float32")) == 0
        np.testing.assert_array_equal(stored(make())[0], FEATURES)

    def test_the_order_of_keys_does_not_matter(self, make: Callable[..., FeatureCache]) -> None:
        fill(make())
        assert fill(make(), dict(reversed(SPEC.items()))) == N

    def test_what_is_unfinished_in_other_bits_is_begun_anew(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        forms = []
        for given, end in (("bfloat16", 20), ("float32", N), ("bfloat16", N)):
            with make().open(SPEC, PATCHES, MASKS, given=given) as entry:
                assert entry is not None
                forms.append((entry.form, entry.filled))
                entry.commit(end)
        assert forms == [("bfloat16", 0), ("float32", 0), ("float32", N)]

    def test_every_value_of_the_specification_matters(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        fill(make())
        assert fill(make(), {**SPEC, "backbone": "c"}) == 0
        assert fill(make(), {**SPEC, "view": {"transform": "Squash", "size": 5}}) == 0
        assert len(make().entries()) == 3

    @pytest.mark.parametrize("reached", [0, 1, 15, 16, 17, 39])
    def test_an_unfinished_one_goes_on_after_the_last_whole_block(
        self, make: Callable[..., FeatureCache], reached: int
    ) -> None:
        fill(make(), end=reached, step=3)
        assert fill(make(), step=7) == reached // BLOCK_IMAGES * BLOCK_IMAGES
        fill(make(folder="unbroken"))
        broken, unbroken = the_folder(make()), the_folder(make(folder="unbroken"))
        assert contents(broken) == contents(unbroken)
        assert broken.name == unbroken.name
        assert (broken / "meta.json").read_text() == (unbroken / "meta.json").read_text()

    def test_names_of_unreadable_images_are_kept(self, make: Callable[..., FeatureCache]) -> None:
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            entry.unreadable["a"] = "because"
            entry.commit(N)
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            assert entry.unreadable == {"a": "because"}


def cut(folder: Path) -> None:
    file = folder / "patches.npy"
    file.write_bytes(file.read_bytes()[:-5])


def flip(name: str, place: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[place] ^= 1
        (folder / name).write_bytes(data)

    return change


def describe(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps({**meta, **changes}))

    return change


class TestDamage:
    DAMAGES: tuple[Callable[[Path], Any], ...] = (
        cut,
        flip("patches.npy", -1),
        flip("patches.npy", 200),
        flip("patches.npy", 3),
        flip("masks.npy", -1),
        lambda folder: (folder / "patches.npy").unlink(),
        lambda folder: (folder / "masks.npy").write_bytes(b""),
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text("[1]"),
        lambda folder: (folder / "meta.json").write_text("{}"),
        describe(patches=None),
        describe(patches=[N, SIDE, SIDE, DIM + 1]),
        describe(checksums=[]),
        describe(checksums=[0, 0, 0]),
        describe(checksums=3),
        describe(filled=N - 1),
        describe(filled=10 * N),
    )

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_it_is_made_again_with_a_warning(
        self, make: Callable[..., FeatureCache], said: list[str], damage: Callable[[Path], None]
    ) -> None:
        fill(make())
        assert said == []
        folder = the_folder(make())
        damage(folder)
        assert fill(make()) == 0
        (line,) = said
        assert line.startswith(f"warning: cached features {folder} are damaged")
        patches, masks = stored(make())
        np.testing.assert_array_equal(patches, FEATURES)
        np.testing.assert_array_equal(masks, LABELS)

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_it_does_not_disturb_another_entry_or_the_list(
        self, make: Callable[..., FeatureCache], damage: Callable[[Path], None]
    ) -> None:
        fill(make())
        damage(the_folder(make()))
        other = {**SPEC, "backbone": "c"}
        assert fill(make(), other) == 0
        assert other in [entry.spec for entry in make().entries()]
        assert make().clear() >= N_BYTES
        assert make().entries() == []
        assert not [path for path in make().folder.iterdir() if path.is_dir()]

    def test_an_entry_is_checked_once_a_run(
        self, make: Callable[..., FeatureCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(make())
        checks = []
        sound = Entry.is_sound
        monkeypatch.setattr(Entry, "is_sound", lambda e: checks.append(e) or sound(e))
        same_run = make()
        for _ in range(3):
            stored(same_run)
        assert len(checks) == 1


FILL = """
import sys, time
from pathlib import Path
import numpy as np
from densebench.features.cache import FeatureCache
from densebench.host.watcher import Watcher
class Printing(Watcher):
    def say(self, line):
        print(line, flush=True)
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
cache = FeatureCache(folder, 10**9, watcher=Printing())
with cache.open({"view": "v"}, (40, 1, 1, 2), (40, 2, 2)) as entry:
    print("from", entry.filled, flush=True)
    for i in range(entry.filled, 40):
        entry.write(i, np.full((1, 1, 1, 2), i), np.full((1, 2, 2), i, dtype=np.uint8))
        entry.commit(i + 1)
        print("at", i + 1, flush=True)
        time.sleep(pause)
"""


@pytest.fixture
def filler() -> Iterator[Callable[..., Any]]:
    """Starts a process that fills the same entry as every other of its kind."""
    started = []

    def start(folder: Path, pause: float) -> Any:
        command = [sys.executable, "-c", FILL, str(folder), str(pause)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        started.append(process)
        return SimpleNamespace(
            process=process,
            line=lambda: process.stdout.readline().strip(),
            rest=lambda: process.communicate(timeout=30)[0].splitlines(),  # noqa: PLW0108
        )

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


class TestProcesses:
    def test_one_killed_is_gone_on_with_to_the_same_bytes(
        self, tmp_path: Path, filler: Callable[..., Any]
    ) -> None:
        killed = filler(tmp_path / "a", 0.01)
        while killed.line() != "at 20":
            pass
        killed.process.kill()
        killed.process.wait()
        assert filler(tmp_path / "a", 0).rest()[0] == "from 16"
        assert filler(tmp_path / "b", 0).rest()[0] == "from 0"
        (a,), (b,) = ([p.parent for p in (tmp_path / x).glob("*/meta.json")] for x in "ab")
        assert contents(a) == contents(b)

    def test_the_second_waits_for_the_first_and_reads(
        self, tmp_path: Path, filler: Callable[..., Any]
    ) -> None:
        first = filler(tmp_path, 0.05)
        while first.line() != "at 1":
            pass
        second = filler(tmp_path, 0)
        assert second.line() == "another process extracts the same features; waiting for it"
        assert first.rest()[-1] == "at 40"
        assert second.rest() == ["from 40"]

    def test_what_is_being_filled_is_neither_evicted_nor_cleared(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            assert make().clear() == 0
            with make(limit=2 * N_BYTES).open({**SPEC, "b": 1}, PATCHES, MASKS) as other:
                assert other is None
            assert the_folder(make()).is_dir()

    def test_whole_entries_are_read_without_a_lock(self, make: Callable[..., FeatureCache]) -> None:
        fill(make())
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is not None
            (lock,) = make().folder.glob("*.lock")
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class TestRoom:
    def test_the_one_used_longest_ago_goes_first(self, make: Callable[..., FeatureCache]) -> None:
        specs = [{**SPEC, "backbone": name} for name in "abc"]
        for at, spec in enumerate(specs[:2]):
            fill(make(), spec)
            os.utime(make().entries()[0].folder / "meta.json", (at, at))
        stored(make(), specs[0])
        one = make().entries()[0].n_bytes
        assert [entry.spec for entry in make().entries()] == [specs[0], specs[1]]
        fill(make(int(2.5 * one)), specs[2])
        kept = [entry.spec["backbone"] for entry in make().entries()]
        assert sorted(kept) == ["a", "c"]
        assert sum(entry.n_bytes for entry in make().entries()) <= 2.5 * one

    def test_a_run_removes_nothing_of_its_own(
        self, make: Callable[..., FeatureCache], said: list[str]
    ) -> None:
        fill(make(), {**SPEC, "backbone": "of before"})
        one, specs = make().entries()[0].n_bytes, [{**SPEC, "backbone": name} for name in "abcd"]
        for wanted in (2, 0):
            run, written = make(int(2.5 * one)), []
            for spec in specs * 2:  # as in two passes
                with run.open(spec, PATCHES, MASKS) as entry:
                    if entry is not None and entry.filled < N:
                        entry.write(0, FEATURES, LABELS)
                        entry.commit(N)
                        written.append(entry)
            assert {e.spec["backbone"] for e in make().entries()} == {"a", "b"}
            assert len(written) == wanted
        assert len(said) == 2  # once a run

    def test_what_would_not_fit_beside_a_runs_own_removes_no_other(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        fill(make(), {**SPEC, "backbone": "of before"})
        one = make().entries()[0].n_bytes
        run = make(int(2.5 * one))
        fill(run)
        wide = (2 * N, *PATCHES[1:]), (2 * N, *MASKS[1:])
        with run.open({**SPEC, "backbone": "wide"}, *wide) as entry:
            assert entry is None
        assert len(make().entries()) == 2

    def test_too_large_says_so_once_and_evicts_nothing(
        self, make: Callable[..., FeatureCache], said: list[str]
    ) -> None:
        fill(make())
        small = make(limit=N_BYTES - 1)
        for name in "xyz":
            with small.open({**SPEC, "backbone": name}, PATCHES, MASKS) as entry:
                assert entry is None
        (line,) = said
        assert "are not kept (limit 0.00 MB" in line
        assert "the run goes on" in line
        assert len(make().entries()) == 1

    def test_a_full_disk_says_so(
        self,
        make: Callable[..., FeatureCache],
        said: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        full = SimpleNamespace(free=FREE_MARGIN + N_BYTES - 1)
        monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: full)
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is None
        assert "are not kept" in said[0]

    def test_a_disk_that_fills_up_meanwhile_leaves_nothing_half_made(
        self,
        make: Callable[..., FeatureCache],
        said: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def no_space(*_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(cache_module.os, "posix_fallocate", no_space)
        with make().open(SPEC, PATCHES, MASKS) as entry:
            assert entry is None
        assert "No space left on device" in said[0]
        assert not [path for path in make().folder.iterdir() if path.is_dir()]

    def test_the_disk_is_taken_at_once(self, make: Callable[..., FeatureCache]) -> None:
        patches, masks = (400, 8, 8, 64), (400, 8, 8)
        with make().open(SPEC, patches, masks) as entry:
            assert entry is not None
            status = (the_folder(make()) / "patches.npy").stat()
            assert status.st_blocks * 512 >= status.st_size

    @pytest.mark.parametrize("place", ["file", "below a file"])
    def test_a_place_that_is_none_says_so_and_lets_the_run_go_on(
        self, make: Callable[..., FeatureCache], said: list[str], tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "file").write_text("")
        cache = make(folder=place.replace("below a file", "file/below"))
        with cache.open(SPEC, PATCHES, MASKS) as entry:
            assert entry is None
        (line,) = said
        assert line.startswith(f"features cannot be kept in {cache.folder}: ")

    def test_an_error_of_the_caller_is_not_taken_for_the_caches(
        self, make: Callable[..., FeatureCache]
    ) -> None:
        with pytest.raises(OSError, match="mine"), make().open(SPEC, PATCHES, MASKS):
            raise OSError("mine")


class TestListing:
    def test_entries_tell_what_they_are(self, make: Callable[..., FeatureCache]) -> None:
        fill(make(), end=20)
        (entry,) = make().entries()
        assert (entry.images, entry.filled, entry.spec) == (N, 16, SPEC)
        assert N_BYTES < entry.n_bytes < N_BYTES + 2000
        assert age(entry.used) == "just now"

    def test_clearing_by_the_beginning_of_a_key(self, make: Callable[..., FeatureCache]) -> None:
        fill(make())
        fill(make(), {**SPEC, "backbone": "c"})
        first, second = make().entries()
        assert make().clear(["nothing"]) == 0
        assert make().clear([first.key[:8]]) == first.n_bytes
        assert make().entries() == [second]

    def test_without_a_folder(self, make: Callable[..., FeatureCache]) -> None:
        assert make().entries() == []
        assert make().clear() == 0

    @pytest.mark.parametrize(
        ("passed", "told"),
        [(0, "just now"), (300, "5 min ago"), (7300, "2 h ago"), (2e5, "2 d ago")],
    )
    def test_ages(self, passed: float, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache_module.time, "time", lambda: 1e9)
        assert age(1e9 - passed) == told


class TestSettings:
    def test_place_and_limit(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("DENSEBENCH_CACHE_LIMIT", "0.5")
        cache = feature_cache()
        assert cache.folder == tmp_path / "cache" / "features"
        assert cache.limit == 500_000_000
        monkeypatch.delenv("DENSEBENCH_CACHE_LIMIT")
        assert feature_cache().limit == 50_000_000_000

    @pytest.mark.parametrize("text", ["much", "", "inf", "nan", "-1"])
    def test_a_limit_that_is_no_number(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setenv("DENSEBENCH_CACHE_LIMIT", text)
        with pytest.raises(DensebenchError, match="DENSEBENCH_CACHE_LIMIT must be a number of GB"):
            feature_cache()
