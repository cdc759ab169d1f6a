"""Links from a page to files."""

import os
from pathlib import Path
from urllib.parse import quote


def relative_link(path: Path, folder: Path) -> str:
    """The link from a page in ``folder`` to a file."""
    relative = os.path.relpath(path.resolve(), folder.resolve())
    return quote(Path(relative).as_posix(), safe="/@+")
