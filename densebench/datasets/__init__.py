"""Labelled images in the layouts in which their owners ship them.

These names are what a dataset of one's own is made of; they outlive any move of the modules.
"""

from densebench.datasets.base import Dataset, MaskReader, Split, SplitName
from densebench.datasets.classes import Classes
from densebench.datasets.image_files import MASKS, PHOTOS, list_files
from densebench.datasets.kind import DatasetKind, labelled
from densebench.datasets.lists import listed_names
from densebench.datasets.load import load_dataset
from densebench.datasets.masks import LookupReader, identity_table, lookup_table
from densebench.datasets.pairing import make_split
from densebench.datasets.roots import Layout, base_folder
from densebench.datasets.targets import Target, labels

__all__ = [
    "MASKS",
    "PHOTOS",
    "Classes",
    "Dataset",
    "DatasetKind",
    "Layout",
    "LookupReader",
    "MaskReader",
    "Split",
    "SplitName",
    "Target",
    "base_folder",
    "identity_table",
    "labelled",
    "labels",
    "list_files",
    "listed_names",
    "load_dataset",
    "lookup_table",
    "make_split",
]
