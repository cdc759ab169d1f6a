import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from densebench import DensebenchError
from densebench.cards import DatasetCard
from densebench.datasets import Split, load_dataset
from densebench.files import hashes

LONG_AGO = 1_500_000_000


@pytest.fixture
def split(voc_home: Path, settled: None) -> Split:
    """The training split with files that are old enough for the index to be trusted."""
    return load_dataset(DatasetCard(kind="voc"), data_root=voc_home).train


def index_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "hashes").glob("*.json"))


def change_last_byte(file: str) -> None:
    content = bytearray(Path(file).read_bytes())
    content[-1] ^= 1
    Path(file).write_bytes(content)


def test_is_a_sha256_and_repeats(split: Split) -> None:
    first = split.fingerprint()
    assert len(bytes.fromhex(first)) == 32
    assert split.fingerprint() == first


@pytest.mark.parametrize("files", ["image_files", "mask_files"])
def test_one_byte_changes_it(split: Split, files: str) -> None:
    first = split.fingerprint()
    change_last_byte(getattr(split, files)[1])
    assert split.fingerprint() != first
    change_last_byte(getattr(split, files)[1])
    assert split.fingerprint() == first


@pytest.mark.parametrize("in_place", [True, False])
def test_a_file_that_keeps_size_and_date_is_hashed_again(
    split: Split, tmp_path: Path, in_place: bool
) -> None:
    file = split.mask_files[0]
    os.utime(file, (LONG_AGO, LONG_AGO))
    first = split.fingerprint()
    if in_place:
        change_last_byte(file)
    else:
        shutil.copy2(file, tmp_path / "other")
        change_last_byte(str(tmp_path / "other"))
        (tmp_path / "other").replace(file)
    os.utime(file, (LONG_AGO, LONG_AGO))
    assert split.fingerprint() != first


def test_an_index_of_the_older_form_is_made_anew(split: Split, tmp_path: Path) -> None:
    first = split.fingerprint()
    for file in index_files(tmp_path):
        index = json.loads(file.read_text())
        older = {name: [*stamp[:2], "0" * 64] for name, (stamp, _) in index.items()}
        file.write_text(json.dumps(older))
    assert split.fingerprint() == first


def test_a_young_file_of_equal_size_and_date_is_hashed_again(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    file = split.mask_files[0]
    os.utime(file)
    date = Path(file).stat().st_mtime_ns
    first = split.fingerprint()
    change_last_byte(file)
    os.utime(file, ns=(date, date))
    assert split.fingerprint() != first


def test_dates_and_places_do_not_count(split: Split, voc_home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(voc_home, copy)
    other = load_dataset(DatasetCard(kind="voc"), data_root=copy).train
    os.utime(other.mask_files[0], (1, 1))
    assert other.fingerprint() == split.fingerprint()


def test_names_classes_ignore_index_and_rules_count(split: Split) -> None:
    table = (*split.reader.table[:-1], 0)
    target = split.target
    variants = [
        split,
        split.subset(split.names[:1]),
        replace(split, names=("2007_000032", "2008_000003")),
        replace(split, target=replace(target, classes=(*split.classes[:-1], "screen"))),
        replace(split, target=replace(target, void=0)),
        replace(split, mask_files=split.mask_files[::-1]),
        replace(split, reader=replace(split.reader, table=table)),
    ]
    assert len({variant.fingerprint() for variant in variants}) == len(variants)


def test_second_time_reads_no_content(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    first = split.fingerprint()
    hashed: list[str] = []
    monkeypatch.setattr(hashes, "_file_hash", lambda folder, name: hashed.append(name))
    assert split.fingerprint() == first
    assert not hashed


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 3}', '{"x": [1, 2, "zz"]}', "\0"])
def test_corrupted_index_is_rebuilt(split: Split, tmp_path: Path, content: str) -> None:
    first = split.fingerprint()
    files = index_files(tmp_path)
    assert len(files) == 2
    for file in files:
        file.write_text(content)
    assert split.fingerprint() == first
    for file in files:
        assert len(json.loads(file.read_text())) == 2


def test_index_that_cannot_be_written_is_told(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = split.fingerprint()
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("DENSEBENCH_CACHE", str(blocked))
    with pytest.warns(UserWarning, match="cannot be kept"):
        assert split.fingerprint() == first


def test_file_that_went_away(split: Split) -> None:
    Path(split.mask_files[0]).unlink()
    with pytest.raises(DensebenchError, match=r"2007_000032\.png: cannot be read: No such file"):
        split.fingerprint()
