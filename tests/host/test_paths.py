"""Where things are kept."""

from pathlib import Path

import pytest

from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home, data_home, expanded, user_home

PLACES = (
    (cache_home, "DENSEBENCH_CACHE", "XDG_CACHE_HOME", ".cache"),
    (user_home, "DENSEBENCH_HOME", "XDG_DATA_HOME", ".local/share"),
)


@pytest.mark.parametrize(("place", "ours", "theirs", "usual"), PLACES)
def test_ours_goes_before_the_desktops_and_that_before_the_usual(
    place, ours: str, theirs: str, usual: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(theirs, str(tmp_path / "theirs"))
    monkeypatch.setenv(ours, "~/ours")
    assert place() == tmp_path / "ours"
    monkeypatch.setenv(ours, "")
    assert place() == tmp_path / "theirs" / "densebench"
    monkeypatch.delenv(theirs)
    assert place() == tmp_path / usual / "densebench"


def test_data_is_where_you_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENSEBENCH_DATA", raising=False)
    assert data_home() == Path("data")
    monkeypatch.setenv("DENSEBENCH_DATA", "/sets")
    assert data_home() == Path("/sets")


def test_no_such_home() -> None:
    with pytest.raises(DensebenchError, match="no such home folder"):
        expanded("~nobody_of_this_name/x")
