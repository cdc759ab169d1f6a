"""What works here and what does not: each finding with the command that mends it.

Nothing here is imported before it is examined, so that a broken torch is told like anything else.
"""

import importlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

from densebench import cards
from densebench.cards.suites import PARTS, suite_members
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home, data_home, user_home
from densebench.records.store import DEFAULT_RESULTS

State = Literal["ok", "note", "broken"]
OLDEST_PYTHON = (3, 10)
LITTLE_SPACE = 5_000_000_000
DRIVER_SECONDS = 20
# The distribution of each module that a run imports; what stands after torch needs it.
MODULES = {
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "PIL": ("pillow",),
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "huggingface_hub": ("huggingface_hub",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "open_clip": ("open_clip_torch",),
}
NEED_TORCH = ("torchvision", "timm", "open_clip")


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        section: what it belongs to.
        name: what it is.
        state: "note" is worth knowing and stops nothing; "broken" is to be mended.
        text: how it is.
        remedy: the command that mends it, or what to do; "" where there is nothing to mend.
    """

    section: str
    name: str
    state: State
    text: str
    remedy: str = ""


def examine(data: Path | None = None, results: Path | None = None) -> list[Finding]:
    """Examine everything; nothing is changed, downloaded or read at length.

    Args:
        data: the folder of datasets; the usual one if not given.
        results: the folder of results; the usual one if not given.
    """
    places = {"cache": cache_home(), "data": data or data_home()}
    places["results"] = results or DEFAULT_RESULTS
    sections: dict[str, Callable[[], Iterable[Finding]]] = {
        "python": _python,
        "packages": _packages,
        "gpu": _gpu,
        "memory": _memory,
        "disk": lambda: _disk(places),
        "datasets": lambda: _datasets(places["data"]),
        "cards": _cards,
        "weights": _weights,
    }
    return [finding for name, look in sections.items() for finding in _guarded(name, look)]


def _guarded(section: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """A part that cannot be examined does not keep the others from being told."""
    found: list[Finding] = []
    try:
        found.extend(look())
    except Exception as error:  # the doctor is for what nobody thought of
        found.append(Finding(section, section, "broken", _reason(error), _remedy(error)))
    return found


def _python() -> Iterator[Finding]:
    version = f"{platform.python_version()} ({sys.executable})"
    old = sys.version_info < OLDEST_PYTHON
    remedy = "install Python 3.10 or later" if old else ""
    yield Finding("python", "python", "broken" if old else "ok", version, remedy)


def _packages() -> Iterator[Finding]:
    broken_torch = False
    for module, distributions in MODULES.items():
        if broken_torch and module in NEED_TORCH:
            yield Finding("packages", module, "note", "not examined: it needs torch")
            continue
        finding = _package(module, distributions)
        broken_torch = broken_torch or (module == "torch" and finding.state == "broken")
        yield finding


def _package(module: str, distributions: tuple[str, ...]) -> Finding:
    installed = [(name, _version(name)) for name in distributions]
    there = [f"{name} {version}" for name, version in installed if version is not None]
    pip = f"{sys.executable} -m pip install"
    problem = _import_problem(module)
    if problem is None:
        return Finding("packages", module, "ok", ", ".join(there) or "of unknown version")
    if not there:
        return Finding("packages", module, "broken", problem, f"{pip} {distributions[-1]}")
    name = there[0].partition(" ")[0]
    remedy = f"{pip} --force-reinstall --no-deps {name}"
    return Finding("packages", module, "broken", f"{there[0]}: {problem}", remedy)


def _import_problem(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a package may even leave the interpreter on import
        return f"cannot be imported ({_reason(error)})"
    return None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> Iterator[Finding]:
    driver = _driver()
    if _import_problem("torch") is not None:
        yield Finding("gpu", "cuda", "note", "not known without torch")
        return
    import torch

    built = torch.version.cuda
    if torch.cuda.is_available():
        yield Finding("gpu", "cuda", "ok", f"CUDA {built}, driver {driver or 'unknown'}")
        for index in range(torch.cuda.device_count()):
            yield _device(torch, index)
    elif driver is None:
        yield Finding("gpu", "cuda", "note", "no GPU here; runs use the CPU")
    elif built is None:
        remedy = f"{sys.executable} -m pip install torch, from the index for your CUDA"
        yield Finding(
            "gpu", "cuda", "note", f"driver {driver}, but this torch is for the CPU", remedy
        )
    else:
        text = f"driver {driver}, but torch for CUDA {built} sees no GPU"
        yield Finding("gpu", "cuda", "note", text, "nvidia-smi")
    yield from _faiss_gpu(torch.cuda.is_available())


def _device(torch: Any, index: int) -> Finding:
    free, total = torch.cuda.mem_get_info(index)
    text = f"{torch.cuda.get_device_name(index)}, {_gb(free)} of {_gb(total)} free"
    return Finding("gpu", f"cuda:{index}", "ok", text)


def _faiss_gpu(has_gpu: bool) -> Iterator[Finding]:
    if _import_problem("faiss") is not None:
        return
    import faiss

    usable = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if usable:
        yield Finding("gpu", "faiss", "ok", "searches on the GPU")
    elif has_gpu:
        remedy = f"{sys.executable} -m pip install faiss-gpu"
        yield Finding("gpu", "faiss", "note", "searches on the CPU, though there is a GPU", remedy)
    else:
        yield Finding("gpu", "faiss", "ok", "searches on the CPU")


def _driver() -> str | None:
    """The version of NVIDIA's driver, if there is one."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None


def _memory() -> Iterator[Finding]:
    from densebench.host.memory import available_bytes

    free = available_bytes()
    yield Finding("memory", "memory", "ok", f"{_gb(free)} free, {os.cpu_count()} processors")


def _disk(places: dict[str, Path]) -> Iterator[Finding]:
    from densebench.features.cache import feature_cache

    variables = {
        "cache": "export DENSEBENCH_CACHE=DIR",
        "data": "export DENSEBENCH_DATA=DIR",
        "results": "densebench run --results DIR ...",
    }
    for name, place in places.items():
        existing = _existing(place)
        free = shutil.disk_usage(existing).free
        text = f"{place}: {_gb(free)} free"
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            # Data are only read; the other two must be written.
            state: State = "note" if name == "data" else "broken"
            yield Finding("disk", name, state, f"{place}: cannot be written", variables[name])
        elif free < LITTLE_SPACE:
            yield Finding("disk", name, "note", f"{text}, which is little", variables[name])
        else:
            yield Finding("disk", name, "ok", text)
    kept = feature_cache()
    size = sum(entry.n_bytes for entry in kept.entries())
    yield Finding("disk", "features", "ok", f"{_gb(size)} of at most {_gb(kept.limit)} kept")


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _datasets(root: Path) -> Iterator[Finding]:
    from densebench.prepare.sources import official_table

    for name in official_table().datasets:
        yield _dataset(name, root)


def _dataset(name: str, root: Path) -> Finding:
    from densebench.datasets.roots import MissingDatasetError, find_root
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
        place = find_root(card, None, root)
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
    from densebench.datasets.load import load_dataset

    if card.kind.startswith("coco"):
        return ""
    try:
        load_dataset(card, data_root=root)
    except DensebenchError as error:
        return str(error)
    return ""


def _cards() -> Iterator[Finding]:
    problems: dict[str, None] = {}  # each once, in order
    for kind in get_args(cards.CardKind):
        if kind == "recipes" and _import_problem("torch") is not None:
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
        try:
            cards.card_names(kind)
        except DensebenchError as error:
            problems.append(str(error))
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
            cards.backbone_card(file)
        elif kind == "tasks":
            cards.task_card(file)
        elif kind == "suites":
            cards.suite_card(file)
            for part in PARTS if whole else ():
                suite_members(str(file), part)
        else:
            from densebench.posttrain.recipe import load_recipe

            load_recipe(file)
    except DensebenchError as error:
        return str(error)
    return None


def _weights() -> Iterator[Finding]:
    if _import_problem("torch") is not None:
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
    text = f"{len(here)} of {len(wanted)} here ({_gb(size)}){names}"
    yield Finding("weights", "weights", "ok", text, "" if here else "densebench weights fetch NAME")
    for state in wanted:
        if state.path is None and state.is_own:
            text = f"its file {state.source} is not beside the card"
            remedy = "put it there, or move the card away"
            yield Finding("weights", state.name, "broken", text, remedy)


def _gb(count: int) -> str:
    from densebench.host.memory import gigabytes

    return gigabytes(count)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, DensebenchError):
        return " ".join(lines)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _remedy(error: BaseException) -> str:
    return "as said" if isinstance(error, DensebenchError) else "report it with this output"
