"""The command line's root; each module beside this one adds its commands to it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from densebench import __version__
from densebench.host.errors import DensebenchError


class Root(TyperGroup):
    """Refuses what is empty: as a path it would be the working directory, and it never is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Look at all that was given before any command does."""
        for before, given in zip(["", *args], args, strict=False):
            option, equals, value = given.partition("=")
            if not given or (option.startswith("--") and equals and not value):
                where = option or (before if before.startswith("-") else "an argument")
                raise DensebenchError(f"{where} is empty; give a value, or leave it out")
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


app = typer.Typer(
    cls=Root,
    help="Benchmark dense (patch-level) visual features of any backbone.",
    no_args_is_help=True,
    add_completion=False,
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
