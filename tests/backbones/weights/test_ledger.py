"""What weights were when they were first used."""

import os
from pathlib import Path

import pytest

from densebench.backbones.weights.ledger import entries, ledger_path, record
from densebench.host.errors import DensebenchError

FIRST, OTHER = "a" * 64, "b" * 64


@pytest.fixture(autouse=True)
def _own(own_places: Path) -> None:
    """A cache of its own."""


def test_the_first_is_kept() -> None:
    assert entries() == {}
    first = record("http://x/a", FIRST, 7, None)
    assert record("http://x/a", OTHER, 8, "commit") == first
    record("http://x/b", OTHER, 9, "commit")
    assert {name: (e.sha256, e.size, e.commit) for name, e in entries().items()} == {
        "http://x/a": (FIRST, 7, None),
        "http://x/b": (OTHER, 9, "commit"),
    }


@pytest.mark.parametrize("content", ["", "[]", '{"a": {"sha256": "x"}}', "{" * 100_000])
def test_a_damaged_one_is_named(content: str) -> None:
    ledger_path().parent.mkdir(parents=True)
    ledger_path().write_text(content)
    with pytest.raises(DensebenchError, match=r"weights\.json: not a readable record of weights"):
        entries()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    ledger_path().parent.mkdir(parents=True)
    ledger_path().parent.chmod(0o500)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert record("http://x/a", FIRST, 7, None).sha256 == FIRST


def test_a_file_where_the_cache_should_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="cannot be recorded"):
        assert record("http://x/a", FIRST, 7, None).sha256 == FIRST
