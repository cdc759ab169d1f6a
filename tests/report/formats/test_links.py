"""Links to files, from wherever a page lies."""

from pathlib import Path
from urllib.parse import unquote

import pytest

from densebench.report.formats.links import relative_link


@pytest.mark.parametrize(
    ("file", "folder", "link"),
    [
        ("a/r.json", ".", "a/r.json"),
        ("a/r.json", "b/c", "../../a/r.json"),
        ("a b/(r).json", ".", "a%20b/%28r%29.json"),
        ("b@1/r+s.json", ".", "b@1/r+s.json"),
        ("a/javascript:x|y<z>.json", ".", "a/javascript%3Ax%7Cy%3Cz%3E.json"),
    ],
)
def test_lead_to_the_file(tmp_path: Path, file: str, folder: str, link: str) -> None:
    found = relative_link(tmp_path / file, tmp_path / folder)
    assert found == link
    assert (tmp_path / folder / unquote(found)).resolve() == (tmp_path / file).resolve()
