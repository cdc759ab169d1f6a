"""A card's weights: beside the card, in the cache, or downloaded from the hub or an address."""

import hashlib
import os
import shutil
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

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

from densebench.cards import BackboneCard, WeightsSource, backbone_folder
from densebench.errors import DensebenchError
from densebench.paths import cache_home

TIMEOUT_S = 30
# The same weights as a pickle, for repositories that have no safetensors file.
AS_PICKLE = {
    "model.safetensors": "pytorch_model.bin",
    "open_clip_model.safetensors": "open_clip_pytorch_model.bin",
}


def fetch(card: BackboneCard, offline: bool = False, name: str | None = None) -> Path:
    """The file of a card's weights: beside the card, from the cache, or else downloaded.

    Args:
        card: The backbone.
        offline: Never use the network. ``HF_HUB_OFFLINE=1`` does the same.
        name: What the user calls it: a name or the card's path; the card's name if not given.

    Raises:
        DensebenchError: the card names no weights, they cannot be had, or the file's SHA-256 is
            not the card's.
    """
    source, called = _source(card), name or card.name
    path = cached(card, name)
    if path is None and source.path:
        raise DensebenchError(
            f"{called}: no weights: there is no file {_beside(source, called)}, which the card "
            "names; put it there, or give --weights FILE"
        )
    if path is None:
        if offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise _not_here(source, called, "the network is switched off")
        path = _from_hub(source, called) if source.repo else _from_url(source, called)
    if source.sha256 and file_sha256(path) != source.sha256:
        raise DensebenchError(
            f"{path}: its SHA-256 is not the one that {called} states; delete the file"
        )
    return path


def cached(card: BackboneCard, name: str | None = None) -> Path | None:
    """The file of a card's weights if it is on this machine; never uses the network.

    Args:
        card: The backbone.
        name: As in :func:`fetch`.
    """
    source = _source(card)
    if source.path:
        path = _beside(source, name or card.name)
        return path if path.is_file() else None
    if source.url:
        path = url_path(source.url)
        return path if path.is_file() else None
    for file in _candidates(source):
        found = try_to_load_from_cache(str(source.repo), file, revision=source.revision)
        if isinstance(found, str):
            return Path(found)
    return None


def url_path(url: str) -> Path:
    """Where the file of an address is kept: its host and path under ``weights`` in the cache."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DensebenchError(f"weights url '{url}': only http and https addresses are fetched")
    steps = [quote(step, safe="") for step in parts.path.split("/") if step not in ("", ".", "..")]
    return cache_home().joinpath("weights", parts.hostname, *steps)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _source(card: BackboneCard) -> WeightsSource:
    if card.weights is None:
        raise DensebenchError(f"card {card.name} names no official weights; give --weights FILE")
    return card.weights


def _beside(source: WeightsSource, called: str) -> Path:
    """The file that is named relative to the card's own."""
    return backbone_folder(called) / str(source.path)


def _candidates(source: WeightsSource) -> list[str]:
    first = str(source.file)
    return [first, AS_PICKLE[first]] if first in AS_PICKLE else [first]


def _not_here(source: WeightsSource, called: str, reason: str) -> DensebenchError:
    where = source.url or f"{source.repo}/{source.file} at {source.revision} of huggingface.co"
    return DensebenchError(
        f"{called}: no weights ({reason}): {where} is not in the cache; run "
        f"`densebench weights fetch {called}` where there is a network, or give --weights FILE"
    )


def _from_hub(source: WeightsSource, called: str) -> Path:
    repo, revision = str(source.repo), source.revision
    for file in _candidates(source):
        try:
            # Without a network this fails at once, where the download would retry for minutes.
            get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))
            return Path(hf_hub_download(repo, file, revision=revision))
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
            continue
        except Exception as error:  # whatever the HTTP client of that version raises
            raise _not_here(source, called, _first_line(error)) from error
    raise _not_here(source, called, "no such file in the repository")


def _from_url(source: WeightsSource, called: str) -> Path:
    """Download to a ``.part`` file beside the target, and rename it once it is whole."""
    url = str(source.url)
    target = url_path(url)
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"downloading {url} to {target}", file=sys.stderr)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    request = Request(url, headers={"User-Agent": "densebench"})
    try:
        with part.open("wb") as file, urlopen(request, timeout=TIMEOUT_S) as response:
            shutil.copyfileobj(response, file, 1 << 20)
            promised = response.headers.get("Content-Length")
        size = part.stat().st_size
        if promised is not None and size != int(promised):
            raise _not_here(
                source, called, f"the download broke off after {size} of {promised} bytes"
            )
        if source.sha256 and file_sha256(part) != source.sha256:
            raise _not_here(source, called, "the SHA-256 of the download is not the card's")
        part.replace(target)
    except (OSError, HTTPException) as error:
        raise _not_here(source, called, _first_line(error)) from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
