"""What in-context retrieval remembers: patches with the class counts of their pixels.

Source: Balazevic et al., arXiv 2306.01667, as computed by vpariza/open-hummingbird-eval at 5e79da2.
"""

import torch
from jaxtyping import Float, Int, Int64, UInt8
from torch import Tensor

VOID = 255
ORIGIN_BYTES = 4


class MemoryBank:
    """Rows of features and class counts, in memory taken once for all of them.

    Counts of pixels are whole numbers, so that the smallest integer type that holds a patch's area
    keeps them exactly.

    Args:
        rows: for how many there is place.
        width: of a row of features.
        n_classes: of the counts.
        area: pixels of a patch.
        fp16: whether features are kept in half precision.
        stretch: the rows whose features are kept here; all of them, unless it says otherwise.
    """

    def __init__(
        self,
        rows: int,
        width: int,
        n_classes: int,
        area: int,
        fp16: bool,
        stretch: range | None = None,
    ) -> None:
        self._stretch = range(rows) if stretch is None else stretch
        dtype = torch.float16 if fp16 else torch.float32
        self._features = torch.empty(len(self._stretch), width, dtype=dtype)
        self._counts = torch.empty(rows, n_classes, dtype=count_type(area))
        self._filled = 0

    def add(self, features: Float[Tensor, "n d"], counts: Int[Tensor, "n c"]) -> None:
        """Append normalised features with the pixel counts of each class."""
        self.put(self._filled, features, counts)
        self._filled += len(features)

    def reserve(self, lengths: dict[int, int]) -> dict[int, int]:
        """Append rows that are put later: so many for each key, in that order.

        Returns:
            The first row of each.
        """
        starts = {}
        for key, length in lengths.items():
            starts[key] = self._filled
            self._filled += length
        return starts

    def put(self, start: int, features: Float[Tensor, "n d"], counts: Int[Tensor, "n c"]) -> None:
        """Set some rows, of whose features those of other stretches are left out."""
        self._counts[start : start + len(features)] = counts
        first = max(start, self._stretch.start)
        last = max(first, min(start + len(features), self._stretch.stop))
        place = slice(first - self._stretch.start, last - self._stretch.start)
        self._features[place] = features[first - start : last - start]

    def empty(self, n_rows: int) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n c"]]:
        """Place for some rows, of the bank's own types."""
        widths = self._features.shape[1], self._counts.shape[1]
        features = self._features.new_empty(n_rows, widths[0])
        return features, self._counts.new_empty(n_rows, widths[1])

    def __len__(self) -> int:
        """How many rows are filled, wherever their features are."""
        return self._filled

    @property
    def own_rows(self) -> range:
        """The rows that are filled here."""
        start = min(self._stretch.start, self._filled)
        return range(start, max(start, min(self._stretch.stop, self._filled)))

    @property
    def features(self) -> Float[Tensor, "n d"]:
        """The rows that are filled here."""
        return self._features[: len(self.own_rows)]

    @property
    def count_bytes(self) -> int:
        """What the counts of the rows that are filled take."""
        return self._counts[: self._filled].nbytes

    def move_counts(self, device: torch.device) -> None:
        """Have the counts, and so the soft labels, on a device."""
        self._counts = self._counts[: self._filled].to(device)

    def soft_labels(self, rows: Int64[Tensor, "*n"]) -> Float[Tensor, "*n c"]:
        """Class frequencies of some rows, where the counts are; each sums to 1."""
        counts = self._counts[rows.to(self._counts.device)].float()
        return counts / counts.sum(dim=-1, keepdim=True)

    def labels(self, rows: Int64[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
        """The most frequent class of some rows."""
        return self.soft_labels(rows).argmax(dim=-1)


class Origins:
    """Which patch of which training view each row of a memory bank is."""

    def __init__(self) -> None:
        self._views: list[tuple[int, int]] = []
        self._patches: list[Int[Tensor, " n"]] = []

    def add(self, image: int, epoch: int, patches: Int64[Tensor, " n"]) -> None:
        """The next rows of the bank are these patches of one view."""
        self._views.append((image, epoch))
        self._patches.append(patches.to(torch.int32))

    def find(
        self, rows: Int64[Tensor, "*n"]
    ) -> tuple[Int64[Tensor, "*n"], Int64[Tensor, "*n"], Int64[Tensor, "*n"]]:
        """Image, epoch and patch of some rows."""
        ends = torch.tensor([len(patches) for patches in self._patches]).cumsum(dim=0)
        views = torch.searchsorted(ends, rows, right=True)
        image, epoch = torch.tensor(self._views)[views].unbind(dim=-1)
        return image, epoch, torch.cat(self._patches)[rows].long()


def count_type(area: int) -> torch.dtype:
    """The smallest integer type that holds the pixel counts of a patch of so many pixels."""
    types = (torch.uint8, torch.int16, torch.int32, torch.int64)
    return next(dtype for dtype in types if area <= torch.iinfo(dtype).max)


def patch_class_counts(
    masks: UInt8[Tensor, "b H W"], patch_size: int, n_classes: int
) -> Int64[Tensor, "b p c"]:
    """Pixels of each class in each patch, patches row by row; void pixels are not counted."""
    grid = masks.shape[1] // patch_size, masks.shape[2] // patch_size
    patches = masks.unflatten(1, (grid[0], patch_size)).unflatten(3, (grid[1], patch_size))
    pixels = patches.permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2).long()
    pixels = pixels.masked_fill(pixels == VOID, n_classes)
    # A cell for each class of each patch: counted in whole numbers, which repeat on any device.
    cells, n_patches = n_classes + 1, pixels.shape[0] * pixels.shape[1]
    first = torch.arange(n_patches, device=pixels.device)[:, None] * cells
    counts = (pixels.flatten(0, 1) + first).flatten().bincount(minlength=n_patches * cells)
    return counts.view(*pixels.shape[:2], cells)[..., :n_classes]


def sample_rare(
    counts: Int64[Tensor, "p c"], uniform: Float[Tensor, " p"], n_rows: int
) -> Int64[Tensor, " n_rows"]:
    """Patches of one image for a bounded memory, those with rare classes first.

    A patch scores the sum, over the classes in it, of the number of patches that have that class,
    times a uniform draw; the lowest scores win. A patch without any label comes last.
    """
    present = counts > 0
    score = present.float() @ present.sum(dim=0).float()
    score = torch.where(present.any(dim=1), score * uniform, torch.inf)
    return score.topk(n_rows, largest=False).indices


def vote(
    similarity: Float[Tensor, "q k"], labels: Float[Tensor, "q k c"], beta: float
) -> Float[Tensor, "q c"]:
    """Mean of the neighbours' soft labels under softmax(cosine / beta)."""
    attention = (similarity / beta).softmax(dim=-1)
    return (attention[:, None, :] @ labels)[:, 0]
