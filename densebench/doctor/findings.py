"""What an examination finds, and how an error is told."""

from dataclasses import dataclass
from typing import Literal

from densebench.host.errors import DensebenchError

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        section: what it belongs to.
        name: what it is.
        state: "note" is worth knowing and stops nothing; "broken" is to be mended.
        text: how it is.
        remedy: the command that mends it, or what to do; "" where there is nothing to mend.
    """

    section: str
    name: str
    state: State
    text: str
    remedy: str = ""


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    if isinstance(error, DensebenchError):
        return " ".join(lines)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def remedy_for(error: BaseException) -> str:
    """What to do about an error: our own say it themselves."""
    return "as said" if isinstance(error, DensebenchError) else "report it with this output"


def size_text(count: int) -> str:
    """A number of bytes for people."""
    from densebench.host.memory import gigabytes

    return gigabytes(count)
