"""With which versions of what a run computes; nothing is imported to tell."""

import platform
from importlib import metadata

from densebench import __version__

PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "pillow", "scikit-learn")
FAISS_PACKAGES = ("faiss-gpu", "faiss-cpu")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that have a part in the number."""
    found = {"densebench": __version__, "python": platform.python_version()}
    for package in (*PACKAGES, *FAISS_PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
