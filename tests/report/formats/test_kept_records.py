"""The records inside a page."""

import base64
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.report.board.board import load_board
from densebench.report.formats import kept_records
from densebench.report.formats.kept_records import KeptRecords

Keep = Callable[..., Path]


@pytest.fixture
def paths(keep: Keep) -> list[Path]:
    return [keep(0.4, seed=seed) for seed in range(2)]


def test_each_is_the_file_as_it_is(paths: list[Path], results: Path) -> None:
    (row,) = load_board(results).tables[0].rows
    kept = KeptRecords(results.parent)
    found = kept.add(row)
    assert [(run["name"], run["seeds"]) for run in found] == [
        (path.relative_to(results.parent).as_posix(), f"seed {seed}")
        for seed, path in enumerate(paths)
    ]
    for run, path in zip(found, paths, strict=True):
        packed = kept.packed[run["place"]]
        assert packed is not None
        assert gzip.decompress(base64.b64decode(packed)) == path.read_bytes()


def test_what_would_make_the_page_too_large_stays_out(
    paths: list[Path], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (row,) = load_board(results).tables[0].rows
    whole = KeptRecords(results)
    whole.add(row)
    length = len(whole.packed[0] or "")
    small = KeptRecords(results, _left=length)
    small.add(row)
    assert [text is None for text in small.packed] == [False, True]
    assert length < kept_records.BUDGET


def test_a_record_that_is_gone_is_named(paths: list[Path], results: Path) -> None:
    (row,) = load_board(results).tables[0].rows
    paths[1].unlink()
    with pytest.raises(DensebenchError, match=paths[1].name):
        KeptRecords(results).add(row)
