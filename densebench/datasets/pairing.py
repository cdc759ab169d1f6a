"""From names to a split: every image with its mask, or an error that says what is not there."""

from collections.abc import Callable, Sequence

from densebench.datasets.base import MaskReader, Split, SplitName, list_order
from densebench.datasets.image_files import Listing
from densebench.datasets.targets import Target
from densebench.host.errors import DensebenchError


def make_split(
    name: SplitName,
    names: Sequence[str] | None,
    *,
    images: Listing,
    masks: Listing,
    reader: MaskReader,
    target: Target,
    group: Callable[[str], str] | None = None,
) -> Split:
    """The split of these names, or of every image in the folder; ``group`` tells a name's group.

    Raises:
        DensebenchError: there is no image, a listed image is missing, or an image has no mask.
    """
    chosen = sorted(images.files) if names is None else sorted(names)
    if not chosen:
        raise DensebenchError(f"{images.folder}: no images, so that the {name} split is empty")
    _check_present(chosen, images, f"listed images of the {name} split are missing")
    _check_present(chosen, masks, f"images of the {name} split are without a mask")
    return Split(
        name=name,
        names=tuple(chosen),
        image_files=tuple(images.files[n] for n in chosen),
        mask_files=tuple(masks.files[n] for n in chosen),
        reader=reader,
        target=target,
        order=None if names is None else list_order(names),
        groups=None if group is None else tuple(map(group, chosen)),
    )


def _check_present(names: Sequence[str], listing: Listing, complaint: str) -> None:
    missing = [name for name in names if name not in listing.files]
    if missing:
        raise DensebenchError(
            f"{listing.folder}: {len(missing)} of {len(names)} {complaint}, "
            f"the first is '{missing[0]}'"
        )
