"""The page put together: a view is one file."""

import shutil
from pathlib import Path

import pytest

from densebench.report.page import parts
from densebench.report.page.parts import load_page

VIEW = """<section id="mine" data-order="15" aria-labelledby="mine-title">
  <h2 id="mine-title">Mine</h2>
</section>
<style>
.mine { color: red; }
</style>
<script>
view("mine", { draw: () => byId("mine").append("drawn") });
</script>
"""


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the page, at another place."""
    shutil.copytree(Path(parts.__file__).parent, tmp_path / "page")
    monkeypatch.setattr(parts, "files", lambda _: tmp_path)
    return tmp_path / "page" / "views"


def test_a_view_is_one_file_and_nothing_lists_it(copied: Path) -> None:
    before = load_page()
    (copied / "mine.html").write_text(VIEW)
    page = load_page()
    assert '<section id="mine"' not in before.template
    assert page.template.index('id="results"') < page.template.index('id="mine"')
    assert page.template.index('id="mine"') < page.template.index('id="classes"')
    assert ".mine { color: red; }" in page.style
    assert 'view("mine"' in page.script
    assert "<style>.mine" not in page.template and "view(" not in page.template


def test_every_view_can_be_taken_away(copied: Path) -> None:
    for file in sorted(copied.glob("*.html")):
        kept = file.read_text()
        file.unlink()
        assert f'<section id="{file.stem}"' not in load_page().template
        file.write_text(kept)


def test_a_view_without_a_place_is_told(copied: Path) -> None:
    (copied / "mine.html").write_text(VIEW.replace(' data-order="15"', ""))
    with pytest.raises(ValueError, match="data-order"):
        load_page()
