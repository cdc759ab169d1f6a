"""The command line's root; each module beside this one adds its commands to it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from densebench import __version__
from densebench.host.errors import DensebenchError

WHOLE = 1000  # characters, more than any sentence has


class Group(TyperGroup):
    """Commands, each with the whole of its first sentence, however narrow the terminal is."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The names in one column, in the other the sentences, wrapped and never cut."""
        names = self.list_commands(ctx)
        commands = [(name, self.get_command(ctx, name)) for name in names]
        rows = [(name, c.get_short_help_str(WHOLE)) for name, c in commands if c is not None]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Root(Group):
    """Refuses what is empty: as a path it would be the working directory, and it never is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look at all that was given before any command does; a shell completes what is begun."""
        for before, given in zip(["", *args], args, strict=False):
            option, equals, value = given.partition("=")
            empty = not given or (option.startswith("--") and equals and not value)
            if empty and not ctx.resilient_parsing:
                where = option or (before if before.startswith("-") else "an argument")
                raise DensebenchError(f"{where} is empty; give a value, or leave it out")
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=Root,
    help="Benchmark dense (patch-level) visual features of any backbone.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
