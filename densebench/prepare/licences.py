"""The owners' terms: shown with the citation, accepted once, and remembered beside the data."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

from densebench.files.atomic import write_atomically
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.host.watcher import Watcher
from densebench.prepare.pieces import own_folder
from densebench.prepare.sources import Source

Ask = Callable[[str], bool]


def show_terms(source: Source, watcher: Watcher) -> None:
    """Title, licence, its address and what to cite."""
    for line in (source.title, f"  licence: {source.licence}", f"  terms: {source.terms}"):
        watcher.say(line)
    for citation in source.citations:
        watcher.say(f"  cite: {citation}")


def require_acceptance(
    name: str, source: Source, root: Path, accept: bool, ask: Ask | None, watcher: Watcher
) -> None:
    """Nothing, once the terms are accepted, now or before; datasets of one owner share them.

    Args:
        name: the dataset.
        source: the dataset's entry.
        root: the folder of datasets, where the acceptance is kept.
        accept: they are accepted on the command line.
        ask: asks the user; None where there is nobody to ask.
        watcher: shows the terms.

    Raises:
        DensebenchError: they are not accepted.
    """
    accepted = _read(root)
    if source.terms in accepted:
        return
    show_terms(source, watcher)
    if not accept and ask is None:
        raise DensebenchError(
            f"{name}: its terms ({source.terms}) are not accepted yet; read them and add "
            "--accept-license, or run this on a terminal"
        )
    if not accept and ask is not None and not ask(f"Do you accept these terms for {name}?"):
        raise DensebenchError(f"{name}: not prepared, since its terms are not accepted")
    accepted[source.terms] = date.today().isoformat()
    write_atomically(_file(root), json.dumps(accepted, indent=1) + "\n")


def _file(root: Path) -> Path:
    return own_folder(root) / "accepted.json"


def _read(root: Path) -> dict[str, str]:
    try:
        content = read_json(_file(root))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
