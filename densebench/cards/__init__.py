"""Backbone, task and suite cards: TOML files read into frozen, validated models.

Nothing here imports torch, so that listing cards is instant.
"""

from densebench.cards.models import (
    LARGEST,
    NAME_PATTERN,
    SHA256_PATTERN,
    BackboneCard,
    Card,
    DatasetCard,
    SuiteCard,
    TaskCard,
    TrainingCard,
    WeightsSource,
)
from densebench.cards.registry import DATASETS, FAMILIES, PROTOCOLS, Registry
from densebench.cards.search import (
    CardKind,
    Found,
    card_entry_points,
    card_files,
    card_names,
    card_path,
    card_problems,
    entry_point_folders,
    find_backbone,
    find_suite,
    find_task,
    flat_kind,
    match_names,
    own_folder,
    resource_path,
    search_path,
)
from densebench.cards.toml import parse_value, read_toml, suggestion, validate

__all__ = [
    "DATASETS",
    "FAMILIES",
    "LARGEST",
    "NAME_PATTERN",
    "PROTOCOLS",
    "SHA256_PATTERN",
    "BackboneCard",
    "Card",
    "CardKind",
    "DatasetCard",
    "Found",
    "Registry",
    "SuiteCard",
    "TaskCard",
    "TrainingCard",
    "WeightsSource",
    "card_entry_points",
    "card_files",
    "card_names",
    "card_path",
    "card_problems",
    "entry_point_folders",
    "find_backbone",
    "find_suite",
    "find_task",
    "flat_kind",
    "match_names",
    "own_folder",
    "parse_value",
    "read_toml",
    "resource_path",
    "search_path",
    "suggestion",
    "validate",
]
