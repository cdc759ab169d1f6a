"""What a run record and a profile hold.

A record is complete enough to repeat the run and to decide what it may be compared with: two
numbers stand in one column only when ``protocol.hash`` and ``dataset.fingerprint`` agree.
"""

import math
import statistics
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from densebench.measures.base import Metric
from densebench.measures.metrics import find_metric
from densebench.records.called import safe_name

PROFILE_ENDING = ".profile.json"  # which no run record has: their names end in an id
LADDER_ENDING = ".ladder.json"  # likewise
NOT_COUNTED = "not counted"


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
    view_engine: str = ""  # which libraries made its views; of older ones it is not known


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
    layers: tuple[int, ...] | None = None  # blocks side by side, as it was asked; in its name too
    random_weights: int | None = None  # the seed of weights that were drawn, not learnt
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
    target: str = "labels"  # what stands beside an image; "depth"
    classes: tuple[str, ...] = ()  # of labels
    ignore_index: int | None = None
    skipped: dict[str, str]  # images that could not be read, with the reason


class ProtocolRecord(Part):
    """Which rules: every parameter, and the hash of all that changes the number."""

    name: str
    version: int
    variant: str
    params: dict[str, Any]
    hash: str
    input_size: int | tuple[int, int]  # a square's side, or height and width
    details: dict[str, Any]
    val_in_fit: str = ""  # why learning looked at the validation images, where it did
    as_shipped: bool = False  # parameters and lists are those of the package's own task card

    @property
    def input_text(self) -> str:
        """The input's size as it is printed."""
        size = self.input_size
        return str(size) if isinstance(size, int) else f"{size[0]}x{size[1]}"


class ContaminationRecord(Part):
    """How many of the validation images a post-training has seen, by their SHA-256."""

    seen: int
    total: int


class IntervalRecord(Part):
    """An interval about a number over validation images or groups, the matching held fixed.

    There are no bounds where a single image or group was scored, which says nothing of others. Of
    several, a bound that is infinite is none: the interval is open on that side.
    """

    low: float | None
    high: float | None
    level: float
    over: str = "images"  # what are independent draws; "sequences", where a dataset names such
    n: int | None = None  # how many there are
    resamples: int | None = None  # these two in records that were made with a bootstrap
    seed: int | None = None

    @field_validator("low", "high")
    @classmethod
    def _open_where_infinite(cls, bound: float | None) -> float | None:
        return bound if bound is None or math.isfinite(bound) else None

    def holds(self, score: float) -> bool:
        """Whether it contains a score; those of older versions need not contain their own."""
        return self.low is not None and self.high is not None and self.low <= score <= self.high


class MetricScore(Part):
    """One number of a score: how it is printed, which way is better, and what came out.

    Where a protocol predicts several times (``repeats``), the value is the mean over them.
    """

    name: str
    title: str
    unit: str = ""
    higher: bool = True  # is better
    scale: float = 1.0  # of what is printed, over the value
    decimals: int = Field(default=2, ge=0)
    parameters: dict[str, Any] = Field(default_factory=dict)  # of the metric of that name
    value: float
    repeats: list[float]
    interval: IntervalRecord | None = None  # the first of a score has one; older others do not

    @property
    def metric(self) -> Metric | None:
        """How evidence becomes this number; none where no package here has such a metric."""
        return find_metric(self.name, self.parameters)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over repeats, where there are several."""
        return statistics.stdev(self.repeats) if len(self.repeats) > 1 else None

    def text(self, value: float, sign: bool = False) -> str:
        """A value of this metric, or a difference of two, as it is printed without its unit."""
        return f"{self.scale * value:{'+' if sign else ''}.{self.decimals}f}"

    @property
    def interval_text(self) -> str:
        """The bounds as they are printed, or why there are none."""
        if self.interval is None:
            return "not kept"
        low, high = self.interval.low, self.interval.high
        if low is None and high is None and self.interval.n in (None, 1):
            return f"none: a single one of the {self.interval.over}"
        told = ("no bound" if bound is None else self.text(bound) for bound in (low, high))
        return " to ".join(told)


class Score(Part):
    """The result at one resolution: the metric that is ranked, then the others.

    Segmentation says more: the IoU of each class in [0, 1], which is null for one in neither truth
    nor prediction, and for each repeat the class that a prediction stands for and the confusion
    matrix, truth x prediction in pixels after this mapping.
    """

    resolution: int | Literal["input", "original"]
    metrics: list[MetricScore] = Field(min_length=1)
    classes: dict[str, float | None] = Field(default_factory=dict)
    mapping: list[list[int]] = Field(default_factory=list)
    confusion: list[list[list[int]]] = Field(default_factory=list)

    @property
    def main(self) -> MetricScore:
        """The number that a leaderboard ranks by."""
        return self.metrics[0]

    @property
    def value(self) -> float:
        """Of the main metric."""
        return self.main.value

    @property
    def interval(self) -> IntervalRecord:
        """Of the main metric."""
        assert self.main.interval is not None
        return self.main.interval

    @model_validator(mode="after")
    def _main_has_an_interval(self) -> "Score":
        if self.main.interval is None:
            raise ValueError("the first metric must have an interval")
        return self

    @property
    def deviation(self) -> float | None:
        """Of the main metric over repeats, where there are several."""
        return self.main.deviation

    def of(self, name: str) -> MetricScore | None:
        """The metric of that name, where this protocol has it."""
        return next((metric for metric in self.metrics if metric.name == name), None)


class RunRecord(Part):
    """Everything about one run. ``scores`` begins with the one that is ranked.

    ``companions`` are the files beside the record with their SHA-256, by the ending of their names;
    of a folder of panels, that of all its files. ``checksum`` is of everything else in the record.
    """

    schema_version: Literal[2] = 2
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
    tf32: bool = False  # matrix products of the backbone were rounded to TF32
    nondeterministic: bool = False  # features were others at every pass, and that was allowed
    allow_nondeterministic: bool = False  # it was, whether they were or not
    deterministic: bool = False  # only algorithms that repeat to the last bit, on a GPU as well
    skip_bad: bool = False  # images that cannot be read were to be left out
    device: str
    processor: str = ""  # its model, that of the host of a GPU too; of older ones it is not known
    feature_devices: list[str] = Field(default_factory=list)  # where features were computed
    batch_size: int
    processes: int = Field(default=1, gt=0)
    view_engine: str = ""  # which libraries made the views; of older records it is not known
    versions: dict[str, str]
    scores: list[Score] = Field(min_length=1)
    seconds: dict[str, float]  # wall time by phase
    peak_rss_bytes: dict[str, int]  # of the process, at the end of each phase
    peak_cuda_bytes: int | None
    contamination: ContaminationRecord | None = None  # none where nothing is known of it
    companions: dict[str, str] = Field(default_factory=dict)
    checksum: str = ""  # none in older records

    @property
    def score(self) -> Score:
        """The score that a leaderboard ranks by."""
        return self.scores[0]

    @property
    def place(self) -> str:
        """Where it was made, as it is printed."""
        return f"{self.device}, {self.processor}" if self.processor else self.device

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
    gflops: float | None  # of one image; 0 or none where there is nothing that is counted
    peak_rss_bytes: int | None  # of a batch, above the loaded backbone; on processors
    peak_cuda_bytes: int | None  # of a batch, the backbone included; on GPUs
    versions: dict[str, str]

    @property
    def operations(self) -> str:
        """The operations of one image as they are printed, without their unit."""
        return f"{self.gflops:.2f}" if self.gflops else NOT_COUNTED

    def path(self, results: Path) -> Path:
        """``<results>/<backbone>/profiles/<device>-<size>-<precision>.profile.json``."""
        file = f"{safe_name(self.device)}-{self.size}-{self.precision}{PROFILE_ENDING}"
        return results / safe_name(self.backbone) / "profiles" / file
