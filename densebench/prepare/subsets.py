"""Fetching the published lists of image names, each verified by its size and SHA-256."""

from densebench.datasets.published_lists import PublishedList, published_lists
from densebench.files.download import Network, download
from densebench.files.wanted import Wanted
from densebench.host.paths import cache_home
from densebench.host.watcher import Watcher
from densebench.prepare.fetch import MIRROR, mirrored

SUBSETS = "subsets"
# The raw files of hbird's repository (MIT licence) at the commit that the table is of.
ADDRESS = (
    "https://raw.githubusercontent.com/vpariza/open-hummingbird-eval/"
    "5e79da292730edded800a89828b84f38469f5476"
)


def prepare_subsets(watcher: Watcher, network: Network | None = None) -> str:
    """Fetch the lists that are not in the cache yet, from hbird's repository or the mirror.

    Returns:
        what is there now, in a line.

    Raises:
        UnreachableError: a list cannot be had, or the server gives something else.
        DensebenchError: a list has another content than the published one.
    """
    lists, quiet = published_lists(), _Lines(watcher)
    with watcher.phase("fetching the published lists", len(lists), "files") as advance:
        for entry in lists:
            if not entry.is_here:
                url = mirrored(f"{ADDRESS}/{entry.path}", entry.path)
                download(url, entry.file, _wanted(entry), quiet, network)
            advance(1)
    return f"subsets: {len(lists)} published lists in {cache_home() / 'file_sets'}"


class _Lines(Watcher):
    """Passes lines on, and shows no phase within the one that is shown."""

    def __init__(self, outer: Watcher) -> None:
        self._outer = outer

    def say(self, line: str) -> None:
        """Pass it on."""
        self._outer.say(line)


def _wanted(entry: PublishedList) -> Wanted:
    return Wanted(
        size=entry.size,
        checksum=f"sha256:{entry.sha256}",
        called="published list",
        mismatch="it is damaged or of another commit",
        instead=f"give the address of a copy of hbird's repository with {MIRROR}",
        elsewhere="another DENSEBENCH_CACHE",
    )
