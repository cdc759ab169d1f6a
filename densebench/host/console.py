"""How commands end and where they print: errors in one line, results alone on standard output."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

import typer

from densebench.host.errors import DensebenchError
from densebench.host.ranks import is_main_process

USAGE, INTERRUPTED = 2, 130
_TOLD: set[str] = set()  # what was warned of already
# typer has its own copy of click from some version on; either way its usage error is this one.
UsageError: Any = typer.BadParameter.__base__


def guarded(command: Callable[[], int | None]) -> NoReturn:
    """Run a command; whatever a user can mend ends in one line and exit code 2.

    SIGTERM ends it as Ctrl-C does. Where whoever read the results has gone, that is no error.
    """
    _mend_streams()
    with suppress(ValueError):  # signals are for the main thread alone
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = command()
        sys.stdout.flush()
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message(), file=sys.stderr)
            sys.exit(USAGE)
        _fail(error.format_message())
    except BrokenPipeError:
        code = _silenced()
    except SystemExit as error:  # typer's way to end where a pipe is broken
        if not isinstance(error.__context__, BrokenPipeError):
            raise
        code = _silenced()
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        _fail(told)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    # typer may give the code instead of passing the interruption on
    if code == INTERRUPTED and is_main_process():
        print("interrupted; run the same command again to go on", file=sys.stderr)
    sys.exit(code)


def _mend_streams() -> None:
    """Three open streams, whatever the caller closed, that print every character in some way."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _silenced() -> int:
    """Nothing more goes to standard output, which Python flushes once more at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return 0


def explained(error: Exception) -> str | None:
    """What to tell a user of an error; None for one that only our own fault explains."""
    if isinstance(error, DensebenchError):
        return str(error)
    if isinstance(error, OSError):
        return describe(error)
    if isinstance(error, UnicodeError):
        return f"a name or a text cannot be written as it is ({error}); rename what has it"
    # torch tells of the processor's memory by a RuntimeError of its own words.
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return "the memory is too small for that; use smaller images, batches or numbers"
    return None


def one_line(text: str) -> str:
    """White space as blanks, and what cannot be seen as �."""
    return visible(" ".join(text.split()))


def visible(line: str) -> str:
    """What cannot be seen, a control sequence above all, as �."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _fail(message: str) -> NoReturn:
    """Of several processes the first alone tells; what the others fail of is handed to it."""
    if is_main_process():
        print(f"error: {one_line(message)}", file=sys.stderr)
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
    stdout = os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield stdout
    finally:
        with suppress(BrokenPipeError):  # nobody reads it; what is wrong is told all the same
            stdout.close()
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
