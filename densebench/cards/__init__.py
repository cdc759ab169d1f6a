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
from densebench.cards.search import (
    CardKind,
    backbone_card,
    backbone_folder,
    card_entry_points,
    card_files,
    card_names,
    card_path,
    entry_point_folders,
    flat_kind,
    match_names,
    own_folder,
    resource_path,
    search_path,
    suite_card,
    task_card,
)
from densebench.cards.toml import parse_value, read_toml, suggestion, validate

__all__ = [
    "LARGEST",
    "NAME_PATTERN",
    "SHA256_PATTERN",
    "BackboneCard",
    "Card",
    "CardKind",
    "DatasetCard",
    "SuiteCard",
    "TaskCard",
    "TrainingCard",
    "WeightsSource",
    "backbone_card",
    "backbone_folder",
    "card_entry_points",
    "card_files",
    "card_names",
    "card_path",
    "entry_point_folders",
    "flat_kind",
    "match_names",
    "own_folder",
    "parse_value",
    "read_toml",
    "resource_path",
    "search_path",
    "suggestion",
    "suite_card",
    "task_card",
    "validate",
]
