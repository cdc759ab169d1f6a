"""A run that is done, found by what it was asked, without torch and without opening weights.

One small JSON file in the cache for each run that was asked: what it was, by everything that it
followed from. That is the options, the cards, the content of the weights, the code of densebench
and of the packages that register what is used, and the libraries' versions; then the content of
the images. Of a backbone whose code is not known, nothing is remembered.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from densebench.backbones.family import family_of
from densebench.cards import (
    DATASETS,
    FAMILIES,
    PROTOCOLS,
    BackboneCard,
    Found,
    find_backbone,
    find_task,
)
from densebench.datasets import Dataset
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash, content_hashes
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home
from densebench.host.versions import versions
from densebench.records.panels import load_panels, panel_folder
from densebench.records.schema import RunRecord
from densebench.records.store import find_record, load_settled
from densebench.run.images import Images, load_images
from densebench.run.options import RunOptions

# What is kept of a run and where, which do not tell whether it was done.
ASIDE = {"results", "overwrite", "panels"}
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class _Known:
    """What a run was, and the fingerprint of its images."""

    backbone: str
    task: str
    run_id: str
    images: str


def recall(options: RunOptions, images: Images | None = None) -> tuple[RunRecord, Path] | None:
    """The record of a run that was done before, and its file; None where that is not known.

    What is wrong with the options is told when the run is planned. ``images`` are those of the run,
    where they were found already.
    """
    if options.overwrite:
        return None
    try:
        key = key_of(options)
        if key is None:
            return None
        known = _Known(**read_json(_file(key)))
        images = images or load_images(find_task(options.task), options)
        if images.fingerprint != known.images:
            return None
        return stored(options, images, known.backbone, known.task, known.run_id)
    except (DensebenchError, OSError, ValueError, TypeError):
        return None


def remember(key: str | None, options: RunOptions, images: Images, record: RunRecord) -> None:
    """Note what a run was, if what it followed from is still what it was when it began."""
    if key is None or key != key_of(options):
        return
    known = _Known(record.backbone.name, record.task, record.run_id, images.fingerprint)
    with suppress(OSError):  # it is only slower without
        write_atomically(_file(key), json.dumps(asdict(known)) + "\n")


def stored(
    options: RunOptions, images: Images, backbone: str, task: str, run_id: str
) -> tuple[RunRecord, Path] | None:
    """The record that may stand, with as many panels as are wanted and can be.

    Raises:
        DensebenchError: it is not what was written.
    """
    path = find_record(options.results, backbone, task, run_id)
    if path is None:
        return None
    record, data = load_settled(path), images.dataset
    if record.run_id != run_id:
        raise DensebenchError(
            f"{path}: holds the run {record.run_id}, not the one of its name; move it away"
        )
    wanted = min(panels_wanted(options, data), len(data.val)) - len(record.dataset.skipped)
    index = load_panels(panel_folder(path))
    return (record, path) if (0 if index is None else len(index.panels)) >= wanted else None


def panels_wanted(options: RunOptions, dataset: Dataset) -> int:
    """How many are asked for and can be: they show labels, or values on a scale that has a unit."""
    return options.panels if dataset.target.is_pictured else 0


def told(path: Path) -> str:
    """What is said of a run that is not repeated."""
    return f"already done: {path} (--overwrite repeats it)"


def key_of(options: RunOptions) -> str | None:
    """A hash of all that a run follows from but its images; None where not all is known."""
    try:
        task, backbone = find_task(options.task), find_backbone(options.backbone)
        if not family_of(backbone.card.source).is_known:
            return None
        beside = family_of(backbone.card.source).beside(backbone)
        code = [str(file) for file in PACKAGE.rglob("*.py")]
        code += FAMILIES.module_files(backbone.card.source)
        code += DATASETS.module_files(task.card.dataset.kind)
        code += PROTOCOLS.module_files(task.card.protocol)
        return content_hash(
            {
                "asked": {k: v for k, v in asdict(options).items() if k not in ASIDE},
                "task": task.card.model_dump(mode="json"),
                "backbone": backbone.card.model_dump(mode="json"),
                "weights": _weights_hash(options, backbone),
                "beside": list(content_hashes(beside).values()),
                "code": list(content_hashes(sorted(set(code))).values()),
                "versions": versions(),
            }
        )
    except (DensebenchError, LookupError):
        return None


def _weights_hash(options: RunOptions, backbone: Found[BackboneCard]) -> str | None:
    """Of the file of weights; None where there are none to be loaded.

    Raises:
        LookupError: the file is not here.
    """
    file = options.weights
    drawn = options.random_weights is not None
    if drawn or (file is None and backbone.card.weights is None):
        return None
    if file is None:
        from densebench.backbones.weights import hub

        file = hub.cached(backbone.card, backbone.folder)
    if file is None or not file.is_file():
        raise LookupError("no weights")
    return content_hashes([str(file)])[str(file)]


def _file(key: str) -> Path:
    return cache_home() / "runs" / f"{key[:32]}.json"
