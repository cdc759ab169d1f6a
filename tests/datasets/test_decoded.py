from pathlib import Path

import numpy as np
import pytest

from densebench.cards import find_task
from densebench.datasets import load_dataset
from densebench.datasets.decoded import DecodedOnce, decoded_once
from densebench.host.errors import DensebenchError
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

pytestmark = pytest.mark.usefixtures("own_places")


class Counting:
    """A reader of masks that counts; each is another."""

    def __init__(self, dtype: str = "uint8") -> None:
        self.reads: list[str] = []
        self._dtype = dtype

    def read(self, file: Path) -> np.ndarray:
        self.reads.append(file.name)
        if file.name == "bad":
            raise DensebenchError("bad")
        return np.arange(6, dtype=self._dtype).reshape(2, 3) + len(file.name)

    def rules(self, file: Path) -> bytes:
        return file.name.encode()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_is_what_the_reader_gives(dtype: str) -> None:
    once, reader = DecodedOnce(Counting(dtype)), Counting(dtype)
    for name in ("a", "bb", "a", "bb", "a"):
        found, wanted = once.read(Path(name)), reader.read(Path(name))
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == wanted.dtype
        found[:] = 0  # a copy
    assert once.reader.reads == ["a", "bb"]  # type: ignore[attr-defined]
    assert once.rules(Path("a")) == b"a"


def test_an_error_is_told_each_time() -> None:
    once = DecodedOnce(Counting())
    for _ in range(2):
        with pytest.raises(DensebenchError, match="bad"):
            once.read(Path("bad"))


def test_memory_is_bounded_and_the_first_stay() -> None:
    counting = Counting()
    once = DecodedOnce(counting, limit=20)
    for _ in range(2):
        for number in range(50):
            once.read(Path(f"{number:02d}"))
    again = counting.reads[50:]
    assert 45 < len(again) < 50
    assert again[-1] == "49"
    assert "00" not in again


def test_another_split_by_no_name(tiny_task: Path) -> None:
    found = find_task(tiny_task)
    split = load_dataset(found.card.dataset, card_path=found.file).val
    assert decoded_once(split).fingerprint() == split.fingerprint()


@pytest.mark.parametrize(("task", "splits"), [("retrieval", "val"), ("linear", "train val")])
def test_a_run_decodes_each_once(
    task: str, splits: str, tiny_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_task(tiny_task)
    dataset = load_dataset(found.card.dataset, card_path=found.file)
    kind, reads = type(dataset.val.reader), []
    read = kind.read
    monkeypatch.setattr(kind, "read", lambda r, file: reads.append(str(file)) or read(r, file))
    options = {"variant": "clean", "cache": "off", "results": tmp_path / "results"}
    evaluate(RunOptions("rgb_s14", str(tiny_task.with_name(f"{task}.toml")), **options))  # type: ignore[arg-type]
    for split in splits.split():
        files = getattr(dataset, split).mask_files
        assert [reads.count(file) for file in files] == [1] * len(files)
