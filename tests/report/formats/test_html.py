"""The page's file: what is in it."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from densebench.host.errors import DensebenchError
from densebench.records.panels import INDEX, load_panels
from densebench.records.schema import RunRecord
from densebench.report.board.board import load_board
from densebench.report.formats import pictures
from densebench.report.formats.html import _block
from densebench.report.outputs import write_formats

BLOCK = re.compile(r'<script type="application/json" id="([^"]+)">(.*?)</script>', re.DOTALL)
VIEW = "tiny_retrieval, reference"


def write(results: Path, page: Path, images: bool = True) -> None:
    write_formats(load_board(results), {"html": page}, images)


def blocks(page: Path) -> dict[str, Any]:
    return {name: json.loads(text) for name, text in BLOCK.findall(page.read_text("utf-8"))}


@pytest.fixture(scope="session")
def page(board: Path) -> Path:
    file = board.parent / "page.html"
    write(board, file)
    return file


class TestFile:
    def test_it_names_no_address_to_load_from(self, page: Path) -> None:
        text = page.read_text("utf-8")
        assert not re.search(r"""(src|srcset|data|poster)\s*=\s*["']?(?!data:)\w+:?//""", text)
        assert not re.search(r"@import|url\(\s*[\"']?(?!data:)", text)
        links = re.findall(r"<link[^>]*>", text)
        assert links == ['<link rel="icon" href="data:,">']
        assert "http://www.w3.org/2000/svg" in text  # the only address, which nothing loads
        assert len(re.findall(r"https?://", text)) == 1

    def test_the_policy_allows_its_own_script_and_style_alone(self, page: Path) -> None:
        text = page.read_text("utf-8")
        (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy.startswith("default-src 'none'; img-src data:; ")
        for tag in ("script", "style"):
            (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy

    def test_numbers_and_links_are_those_of_the_records(self, page: Path, board: Path) -> None:
        data = blocks(page)["data"]
        (table,) = [table for table in data["tables"] if table["title"] == VIEW]
        rows = {row["label"]: row for row in table["rows"]}
        assert list(rows)[:3] == ["tuned", "rgb_s14", "hog_s14"]
        assert (rows["tuned"]["value"], rows["tuned"]["low"]) == (0.62, 0.60)
        assert rows["tuned"]["classes"] == [0.9, 0.1, None]
        base = rows["tuned"]["base"]
        assert base == {"row": 1, "difference": pytest.approx(0.12)}
        record = json.loads((page.parent / rows["tuned"]["records"][0]["name"]).read_text())
        assert record["backbone"]["name"] == "tuned"

    def test_curves_go_over_the_shares_of_one_protocol(self, page: Path) -> None:
        tables = blocks(page)["data"]["tables"]
        (table,) = [table for table in tables if table["title"] == VIEW]
        found = blocks(page)["data"]["curves"][table["curves"]]
        curves = {curve["label"]: curve["points"] for curve in found}
        assert [point[:2] for point in curves["rgb_s14"]] == [[8, 0.3], [2, 0.4], [1, 0.5]]
        assert len(curves["hog_s14"]) == 1
        (other,) = [t for t in tables if t["title"].startswith("another")]
        assert other["curves"] is None

    def test_without_images_nothing_of_them_is_left(self, board: Path, tmp_path: Path) -> None:
        file = tmp_path / "page.html"
        write(board, file, images=False)
        text = file.read_text("utf-8")
        assert "data:image" not in text
        assert list(blocks(file)) == ["data"]
        assert "picture06" not in text

    def test_it_says_whose_images_it_shows(self, page: Path) -> None:
        assert blocks(page)["data"]["shown"] == ["another", "tiny_retrieval"]

    def test_pictures_stay_within_the_budget(
        self, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file, counts = tmp_path / "page.html", []
        for budget in (10**9, 60_000, 20_000, 10):
            monkeypatch.setattr(pictures, "BUDGET", budget)
            write(board, file)
            found = [v for name, v in blocks(file).items() if name != "data"]
            assert sum(len(json.dumps(example)) for example in found) <= budget
            near = sum(m.get("memory") is not None for e in found for m in e["models"])
            counts.append((len(found), near))
            assert all(e["trimmed"] == ("memory" not in e["models"][0]) for e in found)
        assert counts == sorted(counts, reverse=True)
        assert len(set(counts)) >= 3
        assert counts[-1] == (0, 0)

    def test_a_broken_panel_is_named_and_the_page_left(
        self, kept_runs: dict[str, tuple[RunRecord, Path]], put: Callable[..., Path], tmp_path: Path
    ) -> None:
        path = put(tmp_path / "results", kept_runs["rgb_s14"][1], 0.5)
        file, folder = tmp_path / "page.html", path.with_suffix(".panels")
        folder.unlink()  # a link to the run's own
        shutil.copytree(kept_runs["rgb_s14"][1].with_suffix(".panels"), folder)
        write(tmp_path / "results", file)
        before = file.read_bytes()
        index = load_panels(folder)
        assert index is not None
        for name, content in ((index.panels[0].truth, "<svg/>"), (INDEX, "{}")):
            (folder / name).write_text(content)
            with pytest.raises(DensebenchError, match=re.escape(name)):
                write(tmp_path / "results", file)
        assert file.read_bytes() == before

    def test_numbers_that_json_has_not_are_none(self) -> None:
        values = {"a": [float("nan"), (1.0, float("-inf"))], "b": {"c": float("inf"), "d": True}}
        ((_, text),) = BLOCK.findall(_block("data", values))
        assert json.loads(text) == {"a": [None, [1.0, None]], "b": {"c": None, "d": True}}

    def test_a_thousand_classes(
        self, keep: Callable[..., Path], results: Path, own_places: Path
    ) -> None:
        iou = {f"class {number}": number / 1000 for number in range(1000)}
        keep(0.5, dataset={"classes": tuple(iou)}, score={"iou": iou})
        file = results.parent / "all.html"
        formats = {"markdown": "a.md", "csv": "a.csv", "latex": "a.tex", "html": "all.html"}
        files = {name: results.parent / to for name, to in formats.items()}
        write_formats(load_board(results), files)
        ((row,),) = (table["rows"] for table in blocks(file)["data"]["tables"])
        assert row["classes"] == list(iou.values())

    def test_no_record(self, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        write(tmp_path / "results", tmp_path / "page.html")
        assert blocks(tmp_path / "page.html")["data"]["tables"] == []


@settings(max_examples=50)
@given(st.text(), st.text())
def test_no_text_ends_its_block(text: str, key: str) -> None:
    block = _block("data", {key: [text, "</script><!--"]})
    ((_, content),) = BLOCK.findall(block)
    assert json.loads(content) == {key: [text, "</script><!--"]}
    assert not set("<>&\u2028\u2029") & set(content)


class TestCommand:
    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "densebench", "leaderboard", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_it_writes_the_page(self, board: Path, tmp_path: Path) -> None:
        done = self.run("--results", board, "--html", tmp_path / "p.html", "--no-images")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"4 tables in {tmp_path / 'p.html'}\n"
        assert "data:image" not in (tmp_path / "p.html").read_text("utf-8")
        assert not (board.parent / "README.md").exists()

    def test_no_images_without_a_page_is_refused(self, board: Path) -> None:
        done = self.run("--results", board, "--no-images")
        assert done.returncode == 2
        assert done.stderr.startswith("error: --no-images is about the page")
