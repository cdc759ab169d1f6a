"""The table of datasets."""

from typing import Any

import pytest
from pydantic import ValidationError

from densebench.cards import DATASETS
from densebench.host.errors import DensebenchError
from densebench.prepare.sources import Archive, Table, official_table


def test_the_official_one_is_whole() -> None:
    table = official_table()
    for name, source in table.datasets.items():
        assert table.pieces_of(name) or name == "nyuv2"  # of which there is no official archive
        if source.kind is not None:
            DATASETS.check(source.kind)
    for archive in table.archives.values():
        assert archive.n_bytes > 0
    with pytest.raises(DensebenchError, match=r"no dataset named 'vok' \(did you mean 'voc'\?\)"):
        table.source("vok")


@pytest.mark.parametrize(
    "values",
    [
        {"unpacked": 1},
        {"unpacked": 1, "size": 1, "about": 1},
        {"unpacked": 1, "size": 1, "url": "ftp://x"},
        {"unpacked": 1, "size": 1, "checksum": "sha256:short"},
        {"unpacked": 0, "size": 1},
    ],
)
def test_no_archive(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Archive.model_validate(values)


def test_pieces_name_archives_that_exist() -> None:
    piece = {"archive": "a.zip", "members": "x/", "target": "x"}
    with pytest.raises(ValidationError, match=r"'a\.zip' is not in the table"):
        Table.model_validate({"archives": {}, "pieces": {"p": piece}, "datasets": {}})
