"""Datasets, backbone families and protocols by name: one module each, ours or somebody else's.

Our own modules are found by what they export, without importing them: a module of the package that
assigns ``DATASET`` at its top registers a dataset by its own name. An installed package registers
the same object under an entry point, whose value is ``module:OBJECT``. Nothing is imported before
it is asked for by name.
"""

import pkgutil
import re
from functools import cached_property
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from densebench.cards.toml import suggestion
from densebench.host.console import warn
from densebench.host.errors import DensebenchError


class Registry:
    """All things of one kind.

    Args:
        what: What one of them is called.
        package: Our own package, each of whose modules may export one.
        export: The name under which a module exports it.
        group: The entry points of installed packages.
        wanted: What is exported: an instance of this class, or a class made from it, as
            ``module:CLASS``. Who loads it checks that, where it is not given.
    """

    def __init__(
        self, what: str, package: str, export: str, group: str, wanted: str | None = None
    ) -> None:
        self.what, self.package, self.export, self.group = what, package, export, group
        self.wanted = wanted

    def names(self) -> list[str]:
        """Every name that can be asked for, sorted; an entry point without its package warns."""
        return sorted({*self._own, *(n for n, entry in self._theirs.items() if _is_there(entry))})

    def check(self, name: str) -> None:
        """Nothing, for a name that is registered; imports nothing.

        Raises:
            ValueError: it is not, with the nearest and all that are.
        """
        if name in self._theirs or name in self._own:  # in this order: what is left out is told
            return
        known = self.names()
        raise ValueError(
            f"there is no {self.what} of that name{suggestion(name, known)}; "
            f"known are {', '.join(known)}"
        )

    def load(self, name: str) -> Any:
        """What is registered under a name.

        Raises:
            DensebenchError: nothing is, or the package that registers it cannot be imported, or
                registers something else.
        """
        if name in self._own:
            return getattr(import_module(self._own[name]), self.export)
        if name in self._theirs:
            return self._checked(self._theirs[name])
        known = self.names()
        raise DensebenchError(
            f"unknown {self.what} '{name}'{suggestion(name, known)}; known are {', '.join(known)}"
        )

    def module_files(self, name: str) -> list[str]:
        """The Python files of the package that registers a name from outside; none for our own."""
        entry = None if name in self._own else self._theirs.get(name)
        return [] if entry is None else sorted(_package_files(entry.module.partition(".")[0]))

    def _checked(self, entry: metadata.EntryPoint) -> Any:
        loaded = _loaded(entry)
        if self.wanted is None:
            return loaded
        module, _, name = self.wanted.partition(":")
        wanted = getattr(import_module(module), name)
        is_made_from = isinstance(loaded, type) and issubclass(loaded, wanted)
        if not isinstance(loaded, wanted) and not is_made_from:
            raise DensebenchError(f"{_told(entry)}: {loaded!r} is no {name}")
        return loaded

    @cached_property
    def _own(self) -> dict[str, str]:
        exported = re.compile(rf"^{self.export}\b", re.MULTILINE)
        folders = _folders(self.package)
        return {
            module.name: f"{self.package}.{module.name}"
            for folder in folders
            for module in pkgutil.iter_modules([str(folder)])
            if exported.search(_source(folder, module.name))
        }

    @cached_property
    def _theirs(self) -> dict[str, metadata.EntryPoint]:
        found: dict[str, metadata.EntryPoint] = {}
        for entry in metadata.entry_points(group=self.group):
            if entry.name in self._own:
                warn(f"{_told(entry)} is left out: densebench has a {self.what} of that name")
            elif entry.name in found and entry.value != found[entry.name].value:
                warn(f"{_told(entry)} is left out: {_told(found[entry.name])} was found first")
            else:
                found[entry.name] = entry
        return found


def _loaded(entry: metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:  # it is somebody else's code, which may do anything
        reason = " ".join(str(error).split()) or "no message"
        raise DensebenchError(
            f"{_told(entry)}: {type(error).__name__}: {reason}; mend or uninstall the "
            "distribution that registers it"
        ) from error


def _is_there(entry: metadata.EntryPoint) -> bool:
    there = bool(_folders(entry.module.partition(".")[0]) or _spec(entry.module))
    if not there:
        warn(f"{_told(entry)} is left out: there is no module {entry.module}")
    return there


def _told(entry: metadata.EntryPoint) -> str:
    source = f" of {entry.dist.name}" if entry.dist is not None else ""
    return f"entry point '{entry.name}' in {entry.group}{source}"


def _spec(module: str) -> Any:
    try:
        return find_spec(module)
    except (ImportError, ValueError):
        return None


def _folders(package: str) -> list[Path]:
    """Where a package's modules lie; none for a single module, or where there is no package."""
    spec = _spec(package)
    return [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]


def _package_files(package: str) -> list[str]:
    spec = _spec(package)
    files = [str(file) for folder in _folders(package) for file in folder.rglob("*.py")]
    return files or ([spec.origin] if spec is not None and spec.origin else [])


def _source(folder: Path, module: str) -> str:
    places = (folder / f"{module}.py", folder / module / "__init__.py")
    file = next((place for place in places if place.is_file()), None)
    return "" if file is None else file.read_text(encoding="utf-8")


DATASETS = Registry(
    what="dataset kind",
    package="densebench.datasets",
    export="DATASET",
    group="densebench.datasets",
    wanted="densebench.datasets.kind:DatasetKind",
)
FAMILIES = Registry(
    what="backbone source",
    package="densebench.backbones.families",
    export="FAMILY",
    group="densebench.backbones",
    wanted="densebench.backbones.family:Family",
)
PROTOCOLS = Registry(
    what="protocol",
    package="densebench.protocols",
    export="PROTOCOL",
    group="densebench.protocols",
    wanted="densebench.protocols.base:Protocol",
)
