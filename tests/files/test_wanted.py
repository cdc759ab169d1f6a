"""Whether a file is the one that it should be."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from densebench.files.wanted import Wanted, check
from densebench.host.errors import DensebenchError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.zip"
    path.write_bytes(b"content")
    return path


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_by_its_checksum(file: Path, ear: Any, kind: str) -> None:
    digest = hashlib.new(kind, b"content", usedforsecurity=False).hexdigest()
    check(file, Wanted(size=7, checksum=f"{kind}:{digest}"), ear)
    other = digest.replace(digest[0], "f" if digest[0] != "f" else "0", 1)
    wanted = Wanted(checksum=f"{kind}:{other}", called="card", mismatch="fetch it again")
    message = f"its {kind.upper()} is {digest}, but the card's is {other}; fetch it again"
    with pytest.raises(DensebenchError, match=message):
        check(file, wanted, ear)


def test_by_its_size(file: Path, ear: Any) -> None:
    with pytest.raises(DensebenchError, match="has 7 bytes, but the official file has 1,000"):
        check(file, Wanted(size=1000), ear)


def test_how_much_it_may_be() -> None:
    assert [Wanted().most, Wanted(about=10).most, Wanted(size=7, about=10).most] == [None, 20, 7]
