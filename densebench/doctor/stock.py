"""What is here to be evaluated: datasets, cards and weights."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from densebench import cards
from densebench.cards.suites import PARTS, suite_members
from densebench.doctor.findings import Finding, State, size_text
from densebench.doctor.software import import_problem
from densebench.host.errors import DensebenchError
from densebench.host.paths import user_home


def datasets(root: Path) -> Iterator[Finding]:
    """Each official dataset: there, partly there, or how to get it."""
    from densebench.prepare.sources import official_table

    for name in official_table().datasets:
        yield _dataset(name, root)


def _dataset(name: str, root: Path) -> Finding:
    from densebench.datasets.kind import dataset_kind
    from densebench.datasets.roots import MissingDatasetError
    from densebench.prepare.sources import official_table
    from densebench.prepare.verify import is_there

    get = f"densebench data prepare {name} --root {root}"
    kind = official_table().source(name).kind
    there = is_there(name, root)
    if kind is None:
        state: State = "ok" if there else "note"
        text = f"found in {root}" if there else f"missing in {root}"
        return Finding("datasets", name, state, text, "" if there else get)
    card = cards.DatasetCard(kind=kind)
    try:
        place = dataset_kind(kind).find_root(card, None, root)
    except MissingDatasetError as error:
        text = f"partly there: {error}" if there else f"missing in {root}"
        return Finding("datasets", name, "note", text, get)
    except DensebenchError as error:  # an archive that cannot be read
        return Finding("datasets", name, "broken", str(error), "as said")
    problem = "its annotations are missing" if not there else _unpaired(card, root)
    if problem:
        return Finding("datasets", name, "note", f"partly there, in {place}: {problem}", get)
    return Finding("datasets", name, "ok", f"found in {place}")


def _unpaired(card: cards.DatasetCard, root: Path) -> str:
    """What is missing of a dataset whose lists are quick to read; COCO's JSON is not."""
    from densebench.datasets.kind import dataset_kind
    from densebench.datasets.load import load_dataset

    if not dataset_kind(card.kind).is_quick:
        return ""
    try:
        load_dataset(card, data_root=root)
    except DensebenchError as error:
        return str(error)
    return ""


def card_files() -> Iterator[Finding]:
    """Whether every card can be read."""
    problems: dict[str, None] = {}  # each once, in order
    for kind in get_args(cards.CardKind):
        if kind == "recipes" and import_problem("torch") is not None:
            yield Finding("cards", kind, "note", "not examined: reading them needs torch")
            continue
        good, bad = _cards_of(kind)
        problems |= dict.fromkeys(bad)
        yield Finding("cards", kind, "ok", f"{good} cards")
    for problem in problems:
        place, _, reason = problem.partition(": ")
        remedy = f"correct {place}, or move it away" if Path(place).is_file() else "see above"
        yield Finding("cards", place, "broken", reason or problem, remedy)


def _cards_of(kind: cards.CardKind) -> tuple[int, list[str]]:
    """How many cards are good, and why the others are not."""
    good = 0
    problems: list[str] = []
    folders = list(_card_folders(problems))
    whole = not problems  # a suite's members are looked for in all places
    for folder in folders:
        try:
            files = cards.card_files(folder, kind)
        except DensebenchError as error:
            problems.append(str(error))
            continue
        for file in files:
            problem = _card_problem(kind, file, whole)
            good += problem is None
            problems += [problem] if problem else []
    if not problems:
        problems += cards.card_problems(kind)
    return good, problems


def _card_folders(problems: list[str]) -> Iterator[Path]:
    """The search path without the places that are not there, which are problems."""
    for part in os.environ.get("DENSEBENCH_PATH", "").split(os.pathsep):
        if part and not Path(part).is_dir():
            problems.append(f"DENSEBENCH_PATH: names {part}, which is no folder; unset or mend it")
        elif part:
            yield Path(part)
    for entry in cards.card_entry_points():
        try:
            yield from cards.entry_point_folders(entry)
        except DensebenchError as error:
            problems.append(str(error))
    yield from (folder for folder in (user_home(), cards.own_folder()) if folder.is_dir())


def _card_problem(kind: cards.CardKind, file: Path, whole: bool = True) -> str | None:
    try:
        if kind == "backbones":
            cards.find_backbone(file)
        elif kind == "tasks":
            cards.find_task(file)
        elif kind == "suites":
            cards.find_suite(file)
            for part in PARTS if whole else ():
                suite_members(str(file), part)
        elif kind == "ladders":
            ladder = cards.find_ladder(file).card
            for task in {rung.task for rung in ladder.rung} if whole else ():
                cards.find_task(task)
        else:
            from densebench.posttrain.recipe import load_recipe

            load_recipe(file)
    except DensebenchError as error:
        return str(error)
    return None


def weights() -> Iterator[Finding]:
    """How many of the cards' weights are here."""
    if import_problem("torch") is not None:
        yield Finding("weights", "weights", "note", "not known without torch")
        return
    from densebench.backbones.weights.inventory import WeightsState, weights_state

    states: list[WeightsState] = []
    for name, path in cards.card_names("backbones").items():
        if _card_problem("backbones", path) is None:
            states.append(weights_state(name))
    wanted = [state for state in states if state.source]
    here = [state for state in wanted if state.path is not None]
    size = sum(state.n_bytes or 0 for state in here)
    names = f": {', '.join(state.name for state in here)}" if here else ""
    text = f"{len(here)} of {len(wanted)} here ({size_text(size)}){names}"
    yield Finding("weights", "weights", "ok", text, "" if here else "densebench weights fetch NAME")
    for state in wanted:
        if state.path is None and state.is_own:
            text = f"its file {state.source} is not beside the card"
            remedy = "put it there, or move the card away"
            yield Finding("weights", state.name, "broken", text, remedy)
