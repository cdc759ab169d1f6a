"""The rungs of a ladder as runs, once neighbours are seen to differ in what is declared alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from densebench.cards import Found, LadderCard, RungCard, TaskCard, find_task
from densebench.datasets.kind import dataset_kind
from densebench.host.errors import DensebenchError
from densebench.measures.labels import LabelScoring
from densebench.measures.scoring import Scoring
from densebench.protocols import load_protocol
from densebench.protocols.base import ProtocolParams, Setting
from densebench.run.options import RunOptions
from densebench.run.plan import resolved_params

PATCH = 14  # of the backbone for whom scorings are compared: any would do
ONE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Rung:
    """One rung: its card, the run that it asks for, and all that decides the run's number.

    Attributes:
        card: as the ladder says it.
        options: of the run.
        facts: protocol, variant, images and every parameter, by name, nothing left to be chosen.
        scoring: how predictions are scored.
    """

    card: RungCard
    options: RunOptions
    facts: dict[str, Any]
    scoring: Scoring


def plan_rungs(ladder: Found[LadderCard], base: RunOptions) -> list[Rung]:
    """Every rung of a ladder in its order; loads neither images nor weights.

    Args:
        ladder: its card.
        base: how to run; task, variant and parameters are the rungs'.

    Raises:
        DensebenchError: no such task, variant or parameter, or a rung that differs from the one
            before it in something else than it says.
    """
    rungs = [_planned(ladder, card, base) for card in ladder.card.rung]
    for before, rung in pairwise(rungs):
        found, told = differences(before, rung), set(rung.card.changes)
        if found != told:
            words = ", ".join(sorted(found)) or "nothing"
            raise DensebenchError(
                f"{ladder.file}: rung {rung.card.name} says that it changes "
                f"{', '.join(sorted(told))}, and it changes {words}; add rungs between them"
            )
    return rungs


def differences(before: Rung, after: Rung) -> set[str]:
    """What differs between two rungs, by name.

    Two protocols have parameters of their own; those that both have must agree, and so must how
    they are scored, or that differs too.
    """
    first, second = before.facts, after.facts
    if first["protocol"] == second["protocol"]:
        return {key for key in first if first[key] != second[key]}
    shared = first.keys() & second.keys()
    found = {key for key in shared if first[key] != second[key]}
    return found | ({"scoring"} if before.scoring != after.scoring else set())


def _planned(ladder: Found[LadderCard], card: RungCard, base: RunOptions) -> Rung:
    name = str(ladder.folder / card.task) if card.task.endswith(".toml") else card.task
    task = find_task(name)
    params = resolved_params(task, card.params, card.variant)
    facts = {
        "protocol": task.card.protocol,
        "variant": card.variant,
        "dataset": task.card.dataset.model_dump(mode="json"),
        **params.model_dump(mode="json"),
        **{key: getattr(params, key) for key in params.LATER},  # which may be left out above
    }
    options = replace(base, task=name, variant=card.variant, params=card.params)
    return Rung(card, options, facts, _scoring(task.card, params, card.variant))


def _scoring(card: TaskCard, params: ProtocolParams, variant: str) -> Scoring:
    """By what it ranks, with sizes in pixels, so that one size has one name."""
    target = dataset_kind(card.dataset.kind).target(card.dataset)
    setting = Setting(target, PATCH, 8, ONE, ONE, variant, device=torch.device("cpu"))
    protocol = load_protocol(card.protocol)(params, setting)
    scoring = protocol.scoring
    ranked = scoring.resolutions[0]
    if isinstance(scoring, LabelScoring):
        scoring = replace(scoring, further=())  # what is told beside ranks nothing
    return replace(scoring, resolutions=(protocol.input_size if ranked == "input" else ranked,))


def shown_changes(before: Rung, after: Rung) -> Sequence[str]:
    """What a rung changes, with both values: ``input_size: 224 -> 448``."""
    return [
        f"{key}: {_shown(before.facts.get(key))} -> {_shown(after.facts.get(key))}"
        for key in after.card.changes
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
