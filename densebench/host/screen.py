"""The console that everything is shown on."""

from rich import console


class Console(console.Console):
    """rich's, but work goes on when whoever read what it tells has gone (``| head -1``)."""

    def on_broken_pipe(self) -> None:
        """Tell nothing more."""
        self.quiet = True
