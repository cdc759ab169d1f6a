"""Which rows of a table can be told apart, and how far one is from another.

A row's rank is 1 + the number of rows that are significantly better: all pairs of the table are
tested at once on the same resampled images, at a family-wise 5% (``comparison.told_apart``). Rows
that cannot be told apart share a rank, and ranks need not follow the order of the numbers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from densebench.comparison import Comparison, Resampler, average_miou, compare_draws, ranks
from densebench.counts import load_counts
from densebench.results import RunRecord

Found = tuple[Path, RunRecord]


class Standings:
    """The rows of one table with the counts of their images.

    Args:
        rows: The records of each row, one per seed; all of one protocol hash and dataset.

    Raises:
        DensebenchError: a file of counts cannot be read, or is not of its record.
    """

    def __init__(self, rows: Sequence[Sequence[Found]]) -> None:
        self._rows = rows
        self._counts = [[load_counts(path, record) for path, record in found] for found in rows]
        self._draws: dict[int, Float[np.ndarray, " resamples"]] = {}
        self._resamplers: dict[int, Resampler] = {}

    def why_not(self, *places: int) -> str:
        """Why these rows cannot be compared on the same images, or nothing; without any, all."""
        chosen = places or range(len(self._rows))
        counts = [counts for place in chosen for counts in self._counts[place]]
        found = [found for place in chosen for found in self._rows[place]]
        without = [f for f, c in zip(found, counts, strict=True) if c is None]
        if without:
            (path, record), others = without[0], len(without) - 1
            more = f" (and {others} more)" if others else ""
            return (
                f"{record.backbone.name}, {path.name}{more}: made before the counts of single "
                "images were kept; repeat the run with --overwrite"
            )
        if len({c.names for c in counts if c is not None}) > 1:
            skipped = dict.fromkeys(r.backbone.name for _, r in found if r.dataset.skipped)
            return f"not scored on the same images; {', '.join(skipped)} left unreadable ones out"
        if any(c is not None and len(c.names) < 2 for c in counts):
            return "a single validation image says nothing of others"
        return ""

    def ranks(self) -> list[int | None]:
        """The rank of every row; none for all where some cannot be compared."""
        if self.why_not():
            return [None] * len(self._rows)
        places = range(len(self._rows))
        if len(places) < 2:
            return [1]
        mious, draws = [self._miou(i) for i in places], [self._drawn(i) for i in places]
        return list(ranks(mious, draws, self._resampler(0).n_images))

    def compare(self, first: int, second: int) -> Comparison | None:
        """How much better one row is than another; none where they cannot be compared."""
        if self.why_not(first, second):
            return None
        return compare_draws(
            self._miou(first) - self._miou(second),
            self._drawn(first) - self._drawn(second),
            self._resampler(first),
        )

    def _miou(self, place: int) -> float:
        counts = [c for c in self._counts[place] if c is not None]
        return average_miou([c.pixels for c in counts], counts[0].absent)

    def _drawn(self, place: int) -> Float[np.ndarray, " resamples"]:
        """The row's mIoU on each resample of the images."""
        if place not in self._draws:
            counts = [c for c in self._counts[place] if c is not None]
            runs = [c.pixels for c in counts]
            self._draws[place] = self._resampler(place).mious(runs, counts[0].absent)
        return self._draws[place]

    def _resampler(self, place: int) -> Resampler:
        """The resamples of as many images as the row has."""
        n_images = next(len(c.names) for c in self._counts[place] if c is not None)
        if n_images not in self._resamplers:
            self._resamplers[n_images] = Resampler(n_images)
        return self._resamplers[n_images]
