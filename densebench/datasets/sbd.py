"""The Semantic Boundaries Dataset, which labels further images of VOC (Hariharan et al. 2011)."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from densebench.datasets.image_files import Listing, list_files
from densebench.datasets.lists import read_names
from densebench.files.tree import archive_of, is_dir, open_file
from densebench.host.errors import DensebenchError

FOLDERS = ("SBD", "SBD/dataset", "sbd", "sbd/dataset", "benchmark_RELEASE/dataset")


def find_sbd(voc_root: Path) -> Path | None:
    """SBD's folder (which holds ``cls``) in VOC's folder or in one of the two above it.

    Of a VOC in an archive, the folder in which the archive lies counts as well.
    """
    above = voc_root.absolute()
    for base in (above, *above.parents[: 2 if archive_of(above) is None else 3]):
        for folder in FOLDERS:
            if is_dir(base / folder / "cls"):
                return base / folder
    return None


def sbd_names(root: Path) -> tuple[str, ...]:
    """All images that SBD labels, from both of its lists.

    Raises:
        DensebenchError: a list is missing.
    """
    return (*read_names(root / "train.txt"), *read_names(root / "val.txt"))


def sbd_masks(root: Path) -> Listing:
    """The .mat files by image name."""
    return list_files(root / "cls", (".mat",))


def read_sbd_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """The class indices (0 to 20, no void) in the field ``GTcls.Segmentation`` of a .mat file.

    Raises:
        DensebenchError: no readable .mat file, or it has not that field.
    """
    from scipy.io import loadmat

    try:
        with open_file(path) as file:
            content = loadmat(file, variable_names=["GTcls"])
        mask = np.asarray(content["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # scipy tells of a broken file in a dozen ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DensebenchError(
            f"{path}: not a readable SBD mask with GTcls.Segmentation ({reason}); replace the file"
        ) from error
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DensebenchError(
            f"{path}: GTcls.Segmentation must be an 8-bit matrix, "
            f"not {mask.dtype} with {mask.ndim} axes"
        )
    return mask
