"""The one exception that a user reads."""

import pytest
from typer.testing import CliRunner

from densebench import cli
from densebench.host.errors import DensebenchError


def test_the_command_line_tells_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise DensebenchError("this is wrong; do that")

    monkeypatch.setattr("densebench.cards.card_names", refuse)
    monkeypatch.setattr("sys.argv", ["densebench", "list"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: this is wrong; do that\n"


def test_it_is_no_fault_of_the_program() -> None:
    done = CliRunner().invoke(cli.app, ["show", "no_such_card"])
    assert isinstance(done.exception, DensebenchError)
