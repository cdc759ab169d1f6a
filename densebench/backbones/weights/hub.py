"""A card's weights: beside the card, in the cache, or downloaded from the hub or from an address.

The SHA-256 is the card's or, where the card states none, the one that was recorded when the source
was first used; a file with another one is refused.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from huggingface_hub import (
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from densebench.backbones.weights import ledger
from densebench.cards import BackboneCard, WeightsSource
from densebench.files.addresses import ascii_url
from densebench.files.download import Network, UnreachableError, download
from densebench.files.locks import held
from densebench.files.regular import open_regular
from densebench.files.wanted import Wanted
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home
from densebench.host.progress import TerminalWatcher
from densebench.host.screen import Console

NETWORK = Network()
HERE = Path()  # paths in a card that was made in the program
# The same weights as a pickle, for repositories that have no safetensors file.
AS_PICKLE = {
    "model.safetensors": "pytorch_model.bin",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}


class NoSuchFileError(DensebenchError):
    """The repository is there and has no such file."""


def fetch(
    card: BackboneCard, offline: bool = False, name: str | None = None, folder: Path = HERE
) -> Path:
    """The file of a card's weights: beside the card, from the cache, or else downloaded.

    Args:
        card: The backbone.
        offline: Never use the network. ``HF_HUB_OFFLINE=1`` does the same.
        name: What the user calls it: a name or the card's path; the card's name if not given.
        folder: What a path in the card is relative to.

    Raises:
        DensebenchError: the card names no weights, they cannot be had, or the file's SHA-256 is
            neither the card's nor the recorded one.
    """
    return fetch_source(weights_source(card), name or card.name, offline, folder)


def fetch_source(
    source: WeightsSource, called: str, offline: bool = False, folder: Path = HERE
) -> Path:
    """The same for any file of a backbone's.

    Raises:
        NoSuchFileError: the repository has no file of that name.
        DensebenchError: as :func:`fetch`.
    """
    path = cached_source(source, folder)
    if path is None and source.path:
        raise DensebenchError(
            f"{called}: no weights: there is no file {folder / source.path}, which the card "
            "names; put it there, or give --weights FILE"
        )
    if path is None:
        if offline or is_offline():
            raise _not_here(source, called, "the network is switched off")
        path = _from_hub(source, called) if source.repo else _from_url(source, called)
    check(source, called, path)
    return path


def is_offline() -> bool:
    """Whether the environment switches the network off."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def cached(card: BackboneCard, folder: Path = HERE) -> Path | None:
    """The file of a card's weights if it is on this machine; never uses the network.

    Args:
        card: The backbone.
        folder: What a path in the card is relative to.
    """
    return cached_source(weights_source(card), folder)


def cached_source(source: WeightsSource, folder: Path = HERE) -> Path | None:
    """The same for any file of a backbone's.

    Raises:
        DensebenchError: a name that the hub gives nothing.
    """
    if source.path:
        path = folder / source.path
        return path if path.is_file() else None
    if source.url:
        path = url_path(source.url)
        return path if path.is_file() else None
    for file in _candidates(source):
        found = in_cache(source, file)
        if isinstance(found, str):
            return Path(found)
    return None


def in_cache(source: WeightsSource, file: str) -> object:
    """A path, None, or what tells that there is no such file."""
    try:
        return try_to_load_from_cache(str(source.repo), file, revision=revision(source))
    except ValueError as error:
        raise DensebenchError(
            f"weights {place(source)}: nothing on the hub can be called so: {_first_line(error)}"
        ) from error


def check(source: WeightsSource, called: str, path: Path) -> None:
    """Compare a file's SHA-256 with the one that is known, or record it as the first one.

    The file is read each time: an index of hashes goes by dates, which can be set.

    Args:
        source: Where the file is from.
        called: What the user calls the backbone.
        path: The file.

    Raises:
        DensebenchError: it is another one.
    """
    if source.path and not source.sha256:
        return  # one's own weights may change
    actual = file_sha256(path)
    wanted = known_sha256(source)
    if wanted is None:
        size = path.stat().st_size
        wanted = ledger.record(place(source), actual, size, _commit(path)).sha256
    if actual != wanted:
        raise DensebenchError(
            f"{path}: its SHA-256 is {actual}, but {_whose(source, called)} {wanted}; "
            f"{_remedy(source)}"
        )


def known_sha256(source: WeightsSource) -> str | None:
    """The SHA-256 that the weights must have: the card's, or the recorded one."""
    entry = recorded(source)
    return source.sha256 or (entry.sha256 if entry is not None else None)


def recorded(source: WeightsSource) -> ledger.Entry | None:
    """What was recorded when the source was first used."""
    return None if source.path else ledger.entries().get(place(source))


def weights_source(card: BackboneCard) -> WeightsSource:
    """Where a card's weights lie.

    Raises:
        DensebenchError: it names none.
    """
    if card.weights is None:
        raise DensebenchError(f"card {card.name} names no official weights; give --weights FILE")
    return card.weights


def url_path(url: str) -> Path:
    """Where the file of an address is kept: under ``weights`` in the cache, by host and path.

    Scheme, port and query tell addresses apart as well, so that the folder above the file is named
    by a hash of the whole address.
    """
    try:
        parts = urlsplit(ascii_url(url))
    except ValueError as error:
        raise DensebenchError(f"weights url '{url:.80}': no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DensebenchError(f"weights url '{url:.80}': only http and https addresses are fetched")
    steps = [quote(step, safe="") for step in parts.path.split("/") if step not in ("", ".", "..")]
    whole = hashlib.sha256(url.encode()).hexdigest()[:16]
    return cache_home().joinpath("weights", parts.hostname, *steps[:-1], whole, *steps[-1:])


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits, from its content just now."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def place(source: WeightsSource) -> str:
    """A source in one line; it is what the record goes by."""
    return source.url or source.path or f"{source.repo}/{source.file}@{source.revision}"


def _candidates(source: WeightsSource) -> list[str]:
    first = str(source.file)
    return [first, AS_PICKLE[first]] if first in AS_PICKLE else [first]


def revision(source: WeightsSource) -> str:
    """The commit that a branch was when it was first used, and is taken to be ever after."""
    entry = recorded(source)
    return entry.commit if entry is not None and entry.commit else source.revision


def _commit(path: Path) -> str | None:
    """The commit of a file in the cache of huggingface_hub."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else None


def _whose(source: WeightsSource, called: str) -> str:
    entry = recorded(source)
    if source.sha256 or entry is None:
        return f"the card of {called} states"
    return f"on {entry.recorded} was recorded"


def _remedy(source: WeightsSource) -> str:
    if source.path:
        return "put the right file there, or correct the card"
    again = "delete the file and fetch it again"
    if source.sha256:
        return f"{again}, or correct the card"
    return f"{again}; if its owner replaced it, remove its entry from {ledger.ledger_path()}"


def _not_here(source: WeightsSource, called: str, reason: str) -> DensebenchError:
    where = source.url or f"{source.repo}/{source.file} at {revision(source)} of huggingface.co"
    return DensebenchError(
        f"{called}: no weights ({reason}): {where} is not in the cache; run "
        f"`densebench weights fetch {called}` where there is a network, or give --weights FILE"
    )


def _from_hub(source: WeightsSource, called: str) -> Path:
    repo, commit = str(source.repo), revision(source)
    for file in _candidates(source):
        try:
            # Without a network this fails at once, where the download would retry for minutes.
            get_hf_file_metadata(hf_hub_url(repo, file, revision=commit))
            return Path(hf_hub_download(repo, file, revision=commit))
        except LocalEntryNotFoundError as error:
            raise _not_here(source, called, "the hub cannot be reached") from error
        except GatedRepoError as error:
            reason = f"access must be asked for at https://huggingface.co/{repo}, then set HF_TOKEN"
            raise _not_here(source, called, reason) from error
        except RepositoryNotFoundError as error:
            raise _not_here(source, called, "no such repository, or no access to it") from error
        except RevisionNotFoundError as error:
            raise _not_here(source, called, "no such revision") from error
        except EntryNotFoundError:
            _note_missing(repo, file, commit)
            continue
        except Exception as error:  # whatever the HTTP client of that version raises
            raise _not_here(source, called, _first_line(error)) from error
    raise NoSuchFileError(str(_not_here(source, called, "no such file in the repository")))


def _note_missing(repo: str, file: str, commit: str) -> None:
    """Leave the hub's own mark in its cache, which is there without a network as well."""
    with suppress(Exception):  # it is only asked again without
        hf_hub_download(repo, file, revision=commit)


def _from_url(source: WeightsSource, called: str) -> Path:
    url = str(source.url)
    target, known = url_path(url), known_sha256(source)
    wanted = Wanted(
        checksum=f"sha256:{known}" if known else None,
        called="card" if source.sha256 else "recorded file",
        mismatch=_remedy(source),
        elsewhere="another DENSEBENCH_CACHE",
    )
    watcher = TerminalWatcher(Console(stderr=True))
    with _alone(target):
        if target.is_file():
            return target
        watcher.say(f"fetching {url} to {target}")
        try:
            return download(url, target, wanted, watcher, NETWORK)
        except UnreachableError as error:
            raise _not_here(source, called, error.reason) from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """One process at a time downloads a file; the others wait for it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with held(target.with_name(f"{target.name}.lock"), taken=lambda: None):
        yield


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
