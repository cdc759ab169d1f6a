"""What a run record and a profile hold.

A record is complete enough to repeat the run and to decide what it may be compared with: two
numbers stand in one column only when ``protocol.hash`` and ``dataset.fingerprint`` agree.
"""

import re
import statistics
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from densebench.files.hashes import content_hash

PROFILE_ENDING = ".profile.json"  # which no run record has: their names end in an id
LONGEST_NAME = 100


class Part(BaseModel):
    """What every table of a record shares: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingRecord(Part):
    """The post-training that made a backbone's weights."""

    base: str  # the backbone it began from
    base_fingerprint: str
    recipe: str
    recipe_hash: str  # of everything but the seed, the images included
    seed: int
    steps: int


class BackboneRecord(Part):
    """Which features: the card, the weights' own fingerprint, and where they came from."""

    name: str  # the row of a leaderboard; tells the weights apart when they are not the card's
    card: dict[str, Any]
    card_hash: str
    fingerprint: str
    weights: str
    patch_size: int
    embed_dim: int
    parameters: int
    positions: str | None = None  # the rule that resized a learnt table; none where there is none
    training: TrainingRecord | None = None


class DatasetRecord(Part):
    """Which images: sizes and the fingerprint of their content, classes and void label."""

    kind: str
    fingerprint: str  # of the whole splits, before a subset is drawn
    n_train: int
    n_val: int
    subset: str | None  # the share of the training images: 1/N of a published list, or own:1/N
    subset_seed: int | None = None
    groups: str | None = None  # what its images are grouped by, in the plural
    train_names: list[str] | None  # where a subset, a limit or a list of names was chosen
    classes: tuple[str, ...]
    ignore_index: int
    skipped: dict[str, str]  # images that could not be read, with the reason


class ProtocolRecord(Part):
    """Which rules: every parameter, and the hash of all that changes the number."""

    name: str
    version: int
    variant: str
    params: dict[str, Any]
    hash: str
    input_size: int
    details: dict[str, Any]
    as_shipped: bool = False  # parameters and lists are those of the package's own task card


class ContaminationRecord(Part):
    """How many of the validation images a post-training has seen, by their SHA-256."""

    seen: int
    total: int


class IntervalRecord(Part):
    """An interval about a score over validation images or groups, the matching held fixed.

    There are no bounds where a single image or group was scored, which says nothing of others.
    """

    low: float | None
    high: float | None
    level: float
    over: str = "images"  # what are independent draws; "sequences", where a dataset names such
    n: int | None = None  # how many there are
    resamples: int | None = None  # these two in records that were made with a bootstrap
    seed: int | None = None

    @property
    def text(self) -> str:
        """The bounds in per cent, as they are printed; or why there are none."""
        if self.low is None or self.high is None:
            return f"none: a single one of the {self.over}"
        return f"{100 * self.low:.2f} to {100 * self.high:.2f}"

    def holds(self, score: float) -> bool:
        """Whether it contains a score; those of older versions need not contain their own."""
        return self.low is not None and self.high is not None and self.low <= score <= self.high


class Score(Part):
    """The result at one resolution; IoU and mIoU are in [0, 1].

    A null IoU is a class in neither truth nor prediction. Where a protocol predicts several times
    (``repeats``), numbers are means over them and the confusion matrices stand one after another.
    """

    resolution: int | Literal["input", "original"]
    miou: float
    miou_absent_zero: float
    miou_absent_left_out: float
    repeats: list[float]
    interval: IntervalRecord
    pixel_accuracy: float
    iou: dict[str, float | None]
    mapping: list[list[int]]  # prediction -> class, per repeat
    confusion: list[list[list[int]]]  # pixels, truth x prediction after the mapping, per repeat

    @property
    def deviation(self) -> float | None:
        """Standard deviation over repeats, where there are several."""
        return statistics.stdev(self.repeats) if len(self.repeats) > 1 else None


class RunRecord(Part):
    """Everything about one run. ``scores`` begins with the one that is ranked."""

    schema_version: Literal[1] = 1
    run_id: str
    created: str
    backbone: BackboneRecord
    task: str
    task_hash: str
    dataset: DatasetRecord
    protocol: ProtocolRecord
    seed: int
    partial: bool
    limit: int | None
    precision: str
    nondeterministic: bool = False  # features were others at every pass, and that was allowed
    device: str
    feature_devices: list[str] = Field(default_factory=list)  # where features were computed
    batch_size: int
    versions: dict[str, str]
    scores: list[Score] = Field(min_length=1)
    seconds: dict[str, float]  # wall time by phase
    peak_rss_bytes: dict[str, int]  # of the process, at the end of each phase
    peak_cuda_bytes: int | None
    contamination: ContaminationRecord | None = None  # none where nothing is known of it

    @property
    def tf32(self) -> bool:
        """Whether matrix products of the backbone were rounded to TF32."""
        return self.precision.startswith("tf32")

    @property
    def score(self) -> Score:
        """The score that a leaderboard ranks by."""
        return self.scores[0]

    def path(self, results: Path) -> Path:
        """``<results>/<backbone>/<task>/<variant>-seed<seed>-<id>.json``."""
        file = f"{self.protocol.variant}-seed{self.seed}-{self.run_id}.json"
        return results / safe_name(self.backbone.name) / safe_name(self.task) / file


class ProfileRecord(Part):
    """How fast and how large a backbone is at one input size on one device.

    ``latency`` is that of a single image, ``images_per_second`` that of whole batches. A
    multiply-add counts as two operations.
    """

    schema_version: Literal[1] = 1
    created: str
    backbone: str  # as a run record names it
    fingerprint: str
    parameters: int
    size: int  # side of the square input, in pixels
    precision: str
    device: str
    batch_size: int
    images_per_second: float
    latency_median: float  # in seconds
    latency_p95: float
    gflops: float  # of one image
    peak_rss_bytes: int | None  # of a batch, above the loaded backbone; on processors
    peak_cuda_bytes: int | None  # of a batch, the backbone included; on GPUs
    versions: dict[str, str]

    def path(self, results: Path) -> Path:
        """``<results>/<backbone>/profiles/<device>-<size>-<precision>.profile.json``."""
        file = f"{safe_name(self.device)}-{self.size}-{self.precision}{PROFILE_ENDING}"
        return results / safe_name(self.backbone) / "profiles" / file


def safe_name(name: str) -> str:
    """A name as one component of a path; a long one ends in a hash."""
    safe = re.sub(r"[^A-Za-z0-9_.@+-]+", "_", name).lstrip(".") or "_"
    return safe if len(safe) <= LONGEST_NAME else f"{safe[:80]}-{content_hash(name)[:12]}"
