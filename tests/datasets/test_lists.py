"""Lists of names."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from densebench.datasets.lists import find_list, is_bare, listed_names, read_names
from densebench.host.errors import DensebenchError

NAMES = st.lists(st.from_regex(r"\A[a-z0-9_]{1,12}\Z"), min_size=1, unique=True)


@given(names=NAMES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_names_are_read_in_their_order_and_sorted(names: list[str], tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("\n".join(names))
    assert listed_names(file) == tuple(names)
    assert read_names(file) == tuple(sorted(names))


@pytest.mark.parametrize(
    "line", ["a", " a \r", "images/a.jpg", "x\\y\\a.PNG", "a.mat", "aachen/a_leftImg8bit.png"]
)
def test_what_follows_a_name_is_dropped(line: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"\ufeff{line}\n\n", encoding="utf-8")
    assert listed_names(tmp_path / "list.txt") == ("a",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\n \n", "the list is empty"),
        (b"a\nb\na.jpg\n", "1 names are there more than once, the first is 'a'"),
        (b"\xff\xfe\xfa", "not a readable list"),
    ],
)
def test_what_is_no_list(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DensebenchError, match=told):
        read_names(tmp_path / "list.txt")


def test_a_word_names_one_of_the_datasets_own(tmp_path: Path) -> None:
    (tmp_path / "trainaug.txt").write_text("a")
    assert is_bare("trainaug") and not is_bare("trainaug.txt") and not is_bare("lists/trainaug")
    assert find_list("trainaug", tmp_path, Path("elsewhere")) == tmp_path / "trainaug.txt"
    assert find_list("x.txt", tmp_path, Path("elsewhere")) == Path("elsewhere/x.txt")
    with pytest.raises(DensebenchError, match="did you mean 'trainaug'"):
        find_list("trainag", tmp_path, tmp_path)
    with pytest.raises(DensebenchError, match="keeps no lists of its own"):
        find_list("train", None, tmp_path)
