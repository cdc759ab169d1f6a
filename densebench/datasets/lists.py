"""Lists of image names: text files with one name a line."""

import os
from collections import Counter
from pathlib import Path

from densebench.cards import suggestion
from densebench.files.tree import is_dir, is_file, list_names, locate, read_text
from densebench.host.errors import DensebenchError
from densebench.host.paths import expanded

# What follows the name itself in lists that give file names.
_ENDINGS = (".jpg", ".jpeg", ".png", ".mat", "_leftImg8bit", "_gtFine_labelIds")


def read_names(file: Path) -> tuple[str, ...]:
    """The names in a list, sorted.

    Raises:
        DensebenchError: the list is missing, empty, or has a name twice.
    """
    return tuple(sorted(listed_names(file)))


def listed_names(file: Path) -> tuple[str, ...]:
    """The names in a list, in its order.

    Folders, suffixes, blank lines and spaces around are dropped.

    Raises:
        DensebenchError: the list is missing, empty, or has a name twice.
    """
    try:
        lines = read_text(file, encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DensebenchError(f"{file}: no such list of images") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DensebenchError(f"{file}: not a readable list of image names: {error}") from error
    names = [_name(line) for line in lines if line.strip()]
    if not names:
        raise DensebenchError(f"{file}: the list is empty; it needs one image name a line")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DensebenchError(
            f"{file}: {len(twice)} names are there more than once, the first is '{twice[0]}'"
        )
    return tuple(names)


def _name(line: str) -> str:
    name = line.strip().replace("\\", "/").rpartition("/")[2]
    for ending in _ENDINGS:
        if name.lower().endswith(ending.lower()):
            name = name[: -len(ending)]
    return name


def is_bare(spec: str | os.PathLike[str]) -> bool:
    """Whether ``spec`` is a mere word, which names one of the dataset's own lists."""
    path = Path(spec)
    return len(path.parts) == 1 and not path.suffix


def find_list(spec: str | os.PathLike[str], own: Path | None, base: Path) -> Path:
    """The file of a list: a bare word names one in the folder ``own``, else a path from ``base``.

    Raises:
        DensebenchError: a bare word, and the dataset has no such list.
    """
    if not is_bare(spec):
        return locate(base, os.fspath(expanded(spec)))
    if own is None:
        raise DensebenchError(
            f"this dataset keeps no lists of its own, so that '{spec}' names none; "
            "give the path of a text file with one image name a line"
        )
    file = own / f"{spec}.txt"
    if not is_file(file):
        names = list_names(own) if is_dir(own) else []
        known = sorted(name[: -len(".txt")] for name in names if name.endswith(".txt"))
        near = suggestion(str(spec), known)
        raise DensebenchError(
            f"{file}: no such list of images{near}; there are {', '.join(known) or 'none'}"
        )
    return file
