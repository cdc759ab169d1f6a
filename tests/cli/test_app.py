"""The command line's root."""

import pytest
from typer.testing import CliRunner

from densebench.cli import app
from densebench.cli.shared import names
from densebench.host.errors import DensebenchError


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["extract", "--image", ""], "--image is empty"),
        (["extract", "--image="], "--image is empty"),
        (["data", "verify", ""], "an argument is empty"),
        ([""], "an argument is empty"),
    ],
)
def test_what_is_empty_stands_for_no_folder(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, DensebenchError)
    assert str(done.exception).startswith(told)


@pytest.mark.parametrize("name", ["rgb_s14\n", "a\nb", "a\x7f", "\x1b[31mred"])
def test_a_name_has_no_line_end(name: str) -> None:
    with pytest.raises(DensebenchError, match="is no name"):
        names("backbones", f"hog_s14,{name}")


def test_names_may_have_blanks_around_them() -> None:
    assert names("backbones", " hog_s14 , rgb_s14") == ["hog_s14", "rgb_s14"]
