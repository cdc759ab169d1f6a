"""Looking cards up: what is wrong with one stops no other, and no file is parsed twice."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from densebench import cards, cli
from densebench.cards import search
from densebench.host import console
from densebench.host.errors import DensebenchError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(own_places: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the search path, with one good card."""
    place = own_places / "cards"
    place.mkdir()
    copy(place / "good.toml", "good")
    monkeypatch.setenv("DENSEBENCH_PATH", str(place))
    monkeypatch.setattr(console, "_TOLD", set())
    return place


def copy(file: Path, name: str) -> None:
    """The card of a descriptor under another name."""
    file.parent.mkdir(exist_ok=True)
    text = cards.card_path("backbones", "rgb_s14").read_text()
    file.write_text(text.replace("rgb_s14", name))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["densebench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return int(end.value.code or 0), *capfd.readouterr()

    return call


def deep(file: Path) -> None:
    file.write_text(f"name = {'[' * 5000}{']' * 5000}")


def long_number(file: Path) -> None:
    file.write_text(f'name = "bad"\npatch_size = {"9" * 5000}')


def no_text(file: Path) -> None:
    file.write_bytes(b"name = '\xff'")


def no_toml(file: Path) -> None:
    file.write_text("name = ")


def line_break(file: Path) -> None:
    copy(file, "bad\\n")


@pytest.mark.parametrize("spoil", [deep, long_number, no_text, no_toml, line_break])
@pytest.mark.parametrize("place", ["bad.toml", "backbones/bad.toml"])
def test_a_bad_card_is_warned_of_and_left_out(
    folder: Path, run: Run, spoil: Callable[[Path], None], place: str
) -> None:
    (folder / "backbones").mkdir()
    spoil(folder / place)
    code, out, err = run("list")
    assert code == 0
    assert "  good " in out and "  hog_s14 " in out and "  bad " not in out
    (told,) = err.splitlines()
    assert told.startswith(f"warning: {folder / place}: ")
    assert told.endswith("; it is left out")
    assert cards.find_backbone("good").file == folder / "good.toml"
    with pytest.raises(DensebenchError, match=r"cards/(backbones/)?bad\.toml: "):
        cards.find_backbone("bad")


def test_a_card_that_is_not_valid_is_warned_of_and_left_out(folder: Path, run: Run) -> None:
    copy(folder / "bad.toml", "bad")
    text = (folder / "bad.toml").read_text()
    (folder / "bad.toml").write_text(text.replace("patch_size = 14", 'patch_size = "large"'))
    code, out, err = run("list", "backbones")
    assert code == 0
    assert "  good " in out and "  bad " not in out
    assert f"warning: {folder / 'bad.toml'}: key 'patch_size'" in err
    assert run("show", "good")[0] == 0
    assert run("show", "bad")[0] == 2


def test_of_two_cards_of_one_name_neither_is_taken(folder: Path, run: Run) -> None:
    copy(folder / "first.toml", "rgb_s14")
    copy(folder / "second.toml", "rgb_s14")
    code, out, err = run("list", "backbones")
    assert code == 0
    assert "  good " in out and "  rgb_s14 " not in out
    assert err == (
        f"warning: {folder / 'second.toml'}: name 'rgb_s14' is already taken by "
        f"{folder / 'first.toml'}; it is left out\n"
    )
    with pytest.raises(DensebenchError, match=r"name 'rgb_s14' is already taken by"):
        cards.find_backbone("rgb_s14")
    assert cards.card_problems("backbones") == [
        f"{folder / 'second.toml'}: name 'rgb_s14' is already taken by {folder / 'first.toml'}"
    ]


def test_what_is_no_file_is_no_card(folder: Path) -> None:
    os.mkfifo(folder / "pipe.toml")
    (folder / "folder.toml").mkdir()
    assert {"good", "hog_s14"} <= cards.card_names("backbones").keys()
    assert not cards.card_problems("backbones")


def test_each_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cards.card_names("backbones")
    read: list[Path] = []
    plain = search.read_toml
    monkeypatch.setattr(search, "read_toml", lambda file: read.append(file) or plain(file))
    for _ in range(3):
        assert cards.find_backbone("good").card.name == "good"
    assert set(read) == {folder / "good.toml"}
    assert cards.match_names("backbones", "goo*") == ["good"]
    assert len(read) == 3


def test_a_file_that_changes_is_read_again(folder: Path) -> None:
    assert "good" in cards.card_names("backbones")
    copy(folder / "good.toml", "better")
    assert "better" in cards.card_names("backbones")
    assert "good" not in cards.card_names("backbones")


def test_a_card_is_found_with_its_file_and_its_folder(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "good.toml", tmp_path / "elsewhere.toml")
    (folder / "good.toml").symlink_to(tmp_path / "elsewhere.toml")
    found = cards.find_backbone("good")
    assert (found.card.name, found.file) == ("good", folder / "good.toml")
    assert found.folder == tmp_path.resolve()
