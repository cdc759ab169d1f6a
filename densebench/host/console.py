"""How commands end and where they print: errors in one line, results alone on standard output."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

import typer

from densebench.host.errors import DensebenchError

USAGE, INTERRUPTED = 2, 130
_TOLD: set[str] = set()  # what was warned of already
# typer has its own copy of click from some version on; either way its usage error is this one.
UsageError: Any = typer.BadParameter.__base__


def guarded(command: Callable[[], int | None]) -> NoReturn:
    """Run a command; whatever a user can mend ends in one line and exit code 2."""
    try:
        code = command()
    except DensebenchError as error:
        _fail(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            sys.exit(USAGE)
        _fail(error.format_message())
    except OSError as error:
        _fail(describe(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # which typer may give instead of passing the interruption on
        print("interrupted; run the same command again to go on", file=sys.stderr)
    sys.exit(code)


def _fail(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(USAGE)


def warn(message: str) -> None:
    """Tell of something that is left out, in one line on standard error; each thing once."""
    line = " ".join(message.split())
    if line not in _TOLD:
        _TOLD.add(line)
        print(f"warning: {line}", file=sys.stderr)


def describe(error: OSError) -> str:
    """An error of the operating system in words, with the file that it is about."""
    place = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no space left{place}; free some, or choose another place; nothing is half written"
    return f"{error.strerror or error}{place}"


@contextmanager
def clean_stdout() -> Iterator[TextIO]:
    """Standard output for results alone: what anything else prints goes to standard error.

    A plug-in, or C code that it calls, may print anything; so the file descriptor is redirected.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8") as stdout:
            yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
