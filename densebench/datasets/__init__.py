"""Labelled images in the layouts in which their owners ship them."""

from densebench.datasets.base import Dataset, Split
from densebench.datasets.load import load_dataset

__all__ = ["Dataset", "Split", "load_dataset"]
