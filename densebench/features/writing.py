"""An entry of the cache is written while the next batch is extracted."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from jaxtyping import Float, Int64, Shaped

from densebench.features.entries import Entry

AHEAD = 2  # batches that may wait to be written


class EntryWriter:
    """Puts batches into an entry, in order, on a thread of its own.

    At the end of the ``with`` block everything that was put is written, also after an error.

    Args:
        entry: which is written.
        commit: is told before which image all are written; the entry's own, if none is given.
    """

    def __init__(self, entry: Entry, commit: Callable[[int], None] | None = None) -> None:
        self._entry, self._commit = entry, commit or entry.commit
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> "EntryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            for writing in self._waiting:
                writing.result()

    def put(
        self,
        indices: Int64[np.ndarray, " b"],
        patches: Float[np.ndarray, "b h w d"],
        masks: Shaped[np.ndarray, "b S S"],
        unreadable: dict[str, str],
    ) -> None:
        """The next images, and all that could not be read so far; arrays are no longer changed.

        Raises:
            OSError: an earlier batch could not be written.
        """
        while len(self._waiting) >= AHEAD:
            self._waiting.popleft().result()
        work = self._thread.submit(self._write, indices, patches, masks, dict(unreadable))
        self._waiting.append(work)

    def _write(
        self,
        indices: Int64[np.ndarray, " b"],
        patches: Float[np.ndarray, "b h w d"],
        masks: Shaped[np.ndarray, "b S S"],
        unreadable: dict[str, str],
    ) -> None:
        for place, index in enumerate(indices.tolist()):
            self._entry.write(index, patches[place, None], masks[place, None])
        self._entry.unreadable |= unreadable
        self._commit(int(indices[-1]) + 1)
