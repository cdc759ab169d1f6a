"""The command line's root."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from densebench import __version__
from densebench.cli import app
from densebench.cli.shared import names
from densebench.host.errors import DensebenchError

pytestmark = pytest.mark.usefixtures("own_places")

COMMAND = (sys.executable, "-m", "densebench.cli")
SCRIPT = Path(sys.executable).with_name("densebench")

Cli = Callable[..., Any]


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


class TestSpeed:
    """What needs no torch does not import it, and answers at once."""

    @pytest.mark.parametrize(
        "arguments", [["--help"], ["list"], ["run", "--help"], ["cache", "list"]]
    )
    def test_half_a_second_without_torch(self, arguments: list[str]) -> None:
        script = (
            "import sys, runpy\n"
            "try:\n    runpy.run_module('densebench.cli', run_name='__main__')\n"
            "except SystemExit as end:\n    code = end.code\n"
            "print(code, 'torch' in sys.modules, file=sys.stderr)\n"
        )
        seconds = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [sys.executable, "-c", script, *arguments],
                capture_output=True,
                text=True,
                check=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert done.stderr.splitlines()[-1] in ("None False", "0 False")
            assert done.stdout
            user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            seconds.append(user + system)
            if seconds[-1] < 0.5:
                return
        pytest.fail(f"took {seconds} s of processor time")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["weights"], ["cache", "--help"]])
def test_help(run: Cli, arguments: list[str]) -> None:
    done = run(*arguments)
    assert "Usage: " in done.out + done.err
    assert "Commands:" in done.out + done.err
    assert "error: " not in done.err


def test_version(run: Cli) -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nothing"], "nothing"),
        (["run", "--backbone", "rgb_s14"], "--task"),
        (["run", "--backbone", "a", "--task", "b", "--varant", "c"], "--variant"),
        (["run", "--backbone", "a", "--task", "b", "--batch-size", "0"], "--batch-size"),
        (["run", "--backbone", "a", "--task", "b", "--seed", "x"], "--seed"),
        (
            ["run", "--backbone", "a", "--task", "b", "--precision", "fp8"],
            "fp32, tf32, bf16, fp16",
        ),
        (["run", "--backbone", "a", "--task", "b", "--cache", "on"], "fp32, fp16, off"),
        (["list", "backbone"], "did you mean 'backbones'?"),
    ],
)
def test_usage_errors(run: Cli, arguments: list[str], told: str) -> None:
    assert told in run(*arguments).error


def test_list_into_a_pipe_that_is_closed() -> None:
    done = subprocess.run(
        f"{' '.join(COMMAND)} list | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("backbones\n", "")


def test_an_interruption_says_that_it_goes_on(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("densebench.cards.card_names", interrupt)
    done = run("list")
    assert done.code == 130
    assert done.err.splitlines() == ["interrupted; run the same command again to go on"]


def test_an_error_of_a_real_process(process: Cli) -> None:
    done = process("show", "rbg_s14")
    assert done.out == ""
    assert done.err.splitlines() == [f"error: {done.error}"]
    assert "did you mean 'rgb_s14'?" in done.error


@pytest.mark.skipif(not SCRIPT.exists(), reason="densebench is not installed here")
def test_the_script_is_the_module(process: Cli) -> None:
    done = subprocess.run([SCRIPT, "list"], capture_output=True, text=True, check=True)
    assert done.stdout == process("list").out


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command and every group of commands, with what is typed for it."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=["_".join(p) for p, _ in ALL])
def test_help_is_whole_and_fits_into_80_columns(path: tuple[str, ...], command: Any) -> None:
    done = CliRunner().invoke(app, [*path, "-h"], env={"COLUMNS": "80"}, terminal_width=80)
    assert done.exit_code == 0
    assert done.output == CliRunner().invoke(app, [*path, "--help"], terminal_width=80).output
    assert all(len(line) <= 80 for line in done.output.splitlines())
    text = " ".join(done.output.split())
    for name, inner in getattr(command, "commands", {}).items():
        told = " ".join((inner.help or inner.short_help or "").split("\n\n")[0].split())
        assert f"{name} {told.rstrip('.').split('. ')[0]}" in text, name
    for option in command.params:
        if getattr(option, "help", None) and not getattr(option, "hidden", False):
            assert " ".join(option.help.split()) in text, option.name


def test_every_command_and_option_says_what_it_is() -> None:
    for path, command in ALL:
        assert command.help, path
        for option in command.params:
            assert option.help, (path, option.name)


class TestCompletion:
    """What a shell shows at the tab key."""

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("densebench su", ["submit"]),
            ("densebench run --back", ["--backbone"]),
            ("densebench run --backbone hog_s", ["hog_s14"]),
            ("densebench run --backbone rgb_s14,hog_s", ["rgb_s14,hog_s14"]),
            ("densebench run --task scenes_inc", ["scenes_incontext"]),
            ("densebench extract --backbone dinov2_s", ["dinov2_s14"]),
        ],
    )
    def test_commands_options_and_names(self, words: str, told: list[str]) -> None:
        env = {
            "_DENSEBENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = CliRunner().invoke(app, [], env=env, prog_name="densebench")
        assert done.output.split() == told

    def test_the_script_for_a_shell_is_shown(self) -> None:
        env = {"_DENSEBENCH_COMPLETE": "source_bash"}
        done = CliRunner().invoke(app, [], env=env, prog_name="densebench")
        assert "_DENSEBENCH_COMPLETE=complete_bash" in done.output
        assert "complete -o default -F" in done.output
