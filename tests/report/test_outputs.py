"""The leaderboard's files: all or none, and never over a file of somebody else."""

import sys
from pathlib import Path

import pytest

from densebench import cli
from densebench.host.errors import DensebenchError
from densebench.report import outputs
from densebench.report.board.board import load_board
from densebench.report.formats.csv import csv_lines
from densebench.report.formats.model_index import model_index
from densebench.report.outputs import FORMATS, check_outputs, write_formats

pytestmark = pytest.mark.usefixtures("own_places")

ENDINGS = {"markdown": "md", "csv": "csv", "latex": "tex", "html": "html"}


class TestOthersFiles:
    @pytest.mark.parametrize("name", FORMATS)
    def test_ours_are_written_anew_and_others_are_refused(
        self, papers: Path, tmp_path: Path, name: str
    ) -> None:
        file = tmp_path / f"board.{ENDINGS[name]}"
        board = load_board(papers)
        for _ in range(2):
            write_formats(board, {name: file})
        made = file.read_bytes()
        file.write_bytes(b"")
        write_formats(board, {name: file})
        assert file.read_bytes() == made
        file.write_text("My notes,\nwhich are nowhere else.\n")
        with pytest.raises(DensebenchError, match="was not made by `densebench leaderboard`"):
            write_formats(board, {name: file})
        assert file.read_text() == "My notes,\nwhich are nowhere else.\n"

    def test_a_readme_beside_the_records_stays(
        self, papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        readme = papers.parent / "README.md"
        readme.write_text("# Mine\n")
        assert run(monkeypatch, "--results", papers) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert readme.read_text() == "# Mine\n"

    @pytest.mark.parametrize("place", [".", "/dev/null"])
    def test_a_folder_or_a_device_is_no_file(self, tmp_path: Path, place: str) -> None:
        with pytest.raises(DensebenchError, match="no file that can be written over"):
            check_outputs({"csv": tmp_path / place})

    def test_two_formats_have_two_files(self, tmp_path: Path) -> None:
        with pytest.raises(DensebenchError, match="give each its own"):
            check_outputs({"csv": tmp_path / "a", "latex": tmp_path / "b" / ".." / "a"})


class TestAllOrNone:
    def test_a_place_that_cannot_be_written(self, papers: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        files = {"csv": tmp_path / "a.csv", "latex": tmp_path / "file" / "a.tex"}
        with pytest.raises(DensebenchError, match=r"a\.tex cannot be written: .*file is no folder"):
            write_formats(load_board(papers), files)
        assert sorted(f.name for f in tmp_path.glob("*.*")) == []

    def test_a_format_that_fails(
        self, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> str:
            raise DensebenchError("a broken picture")

        monkeypatch.setitem(FORMATS, "latex", outputs.Format(fail, "%"))
        with pytest.raises(DensebenchError, match="a broken picture"):
            write_formats(
                load_board(papers), {"csv": tmp_path / "a.csv", "latex": tmp_path / "a.tex"}
            )
        assert not (tmp_path / "a.csv").exists()

    def test_a_disk_that_is_full_at_the_second(
        self, papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = outputs.replacing

        def full(path: Path) -> object:
            if path.suffix == ".tex":
                raise OSError(28, "No space left on device")
            return opened(path)

        monkeypatch.setattr(outputs, "replacing", full)
        with pytest.raises(OSError, match="No space"):
            write_formats(
                load_board(papers), {"csv": tmp_path / "a.csv", "latex": tmp_path / "a.tex"}
            )
        assert [f.name for f in tmp_path.iterdir() if f.suffix != ""] == []


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["densebench", "leaderboard", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


class TestCommand:
    def test_writes_what_is_asked_for_and_no_more(
        self,
        papers: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        table, paper = tmp_path / "a.csv", tmp_path / "deep" / "a.tex"
        assert not run(monkeypatch, "--results", papers, "--csv", table, "--latex", paper)
        assert capsys.readouterr().out == f"2 tables in {table}\n2 tables in {paper}\n"
        assert table.read_text() == csv_lines(load_board(papers), tmp_path)
        assert paper.is_file()
        assert not (papers.parent / "README.md").exists()
        assert not run(monkeypatch, "--results", papers)
        assert (papers.parent / "README.md").is_file()

    def test_prints_the_model_index_alone(
        self, papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert not run(monkeypatch, "--results", papers, "--model-index", "base")
        assert capsys.readouterr().out == model_index(load_board(papers), "base")
        assert run(monkeypatch, "--results", papers, "--model-index", "bas") == 2
        assert "did you mean 'base'?" in capsys.readouterr().err
