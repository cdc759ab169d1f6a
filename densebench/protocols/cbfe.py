"""Fully unsupervised segmentation: which clusters are foreground, and clusters of that alone.

Cluster-based foreground extraction (CBFE) keeps the clusters of patches that lie in the attention
of the class token. What they cover is clustered again, into as many clusters as there are objects,
and into finer ones that communities of neighbours join. Source: Ziegler and Asano, arXiv
2204.13101, as computed by experiments/fully_unsup_seg of vpariza/NeCo at 3932160.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt

from densebench.backbones.base import PositionsOf
from densebench.datasets.targets import Target
from densebench.datasets.transforms import Squash
from densebench.features.source import PatchSource, of_attention
from densebench.host.errors import DensebenchError
from densebench.learners.attended import Attended, attended, fit_together
from densebench.learners.attention_masks import SMALLEST_GRID
from densebench.learners.cluster_foreground import Effort
from densebench.learners.clustering import StreamedPCA
from densebench.learners.communities import MOST_LABELS, require_infomap
from densebench.measures.foregrounds import Clusterings, ClusterScoring, Foreground
from densebench.measures.jaccard import CommunitiesMeanIoU, ObjectsMeanIoU, UpperBoundMeanIoU
from densebench.measures.scoring import Prediction
from densebench.measures.segmentation import Absent, Matching
from densebench.protocols.base import InputSize, Needs, P, Protocol, ProtocolParams, Setting
from densebench.protocols.clusterings import Clusterer, Found, Graph, Plan

Share = Annotated[float, Field(ge=0, le=1)]
SomeClusters = Annotated[int, Field(gt=0, lt=MOST_LABELS)]
ALL_TOGETHER = "training and validation images are standardised, reduced and clustered together"
CLEAN_THRESHOLD = 0.5  # more of a foreground cluster is attended to than not
AT_ONCE = 16  # images that are predicted together


class CbfeParams(ProtocolParams):
    """Parameters of the clusterings.

    ``mass`` is the share of the attention that its mask holds. ``threshold`` is the share of a
    foreground cluster's pixels that lie in it, or more; ``train`` looks for it with the masks of
    the training images. ``background`` names the classes that are no foreground, ``K`` how many
    clusters all patches are put into, ``K_objects`` and ``K_communities`` those of the foreground.
    """

    input_size: InputSize = 448
    mask_size: PositiveInt = 100
    mass: float = Field(default=0.65, gt=0, lt=1)
    background: tuple[str, ...] = Field(default=("background",), min_length=1)
    K: int = Field(default=200, ge=3)
    threshold: Share | Literal["auto", "train"] = "auto"
    pca_dim: int = Field(default=50, gt=0)
    pca_rows_per_dim: int = Field(default=1000, ge=0)
    niter: int = Field(default=100, gt=0, le=100_000)
    nredo: int = Field(default=5, gt=0, le=1000)
    points_per_centroid: int = Field(default=256, gt=0)
    K_objects: SomeClusters | Literal["classes"] = "classes"
    object_seeds: int = Field(default=5, gt=0, le=1000)
    communities: bool = True
    K_communities: int = Field(default=189, gt=1, lt=MOST_LABELS)
    weight_threshold: float = Field(default=0.07, gt=0, le=1)
    markov_time: float = Field(default=1.2, gt=0, le=1000)
    community_seeds: int = Field(default=10, gt=0, le=1000)
    upper_bound: bool = False

    def check(self, target: Target) -> None:
        """Nothing, where the background is the dataset's, and what finds communities is installed.

        Raises:
            DensebenchError: it is not.
        """
        Foreground.named(self.background, target)
        if self.communities:
            require_infomap()


class Cbfe(Protocol):
    """Foreground by clusters and attention, and clusterings of it.

    Of several processes, all extract patches, and the first one clusters.
    """

    published_positions: ClassVar[PositionsOf] = "neco"
    Params: ClassVar[type[ProtocolParams]] = CbfeParams
    version: ClassVar[int] = 1
    params: CbfeParams

    def __init__(self, params: CbfeParams, setting: Setting) -> None:
        super().__init__(params, setting)
        if self.grid < SMALLEST_GRID:
            raise DensebenchError(
                f"attention is blurred over {SMALLEST_GRID}x{SMALLEST_GRID} patches or more; "
                f"input_size must be {SMALLEST_GRID * setting.patch_size} or more"
            )
        self._val: Attended | None = None
        self._found: Found | None = None

    @classmethod
    def resolve(cls, params: P, variant: str) -> P:
        """The threshold as well: found with training masks in ``reference``, fixed in ``clean``.

        Raises:
            DensebenchError: no such variant, or masks are to be looked at in ``clean``.
        """
        chosen = super().resolve(params, variant)
        assert isinstance(chosen, CbfeParams)
        if variant != "reference" and chosen.threshold == "train":
            raise DensebenchError(
                "threshold = 'train' looks at true masks, which the variant 'clean' does not; "
                f"give a number such as {CLEAN_THRESHOLD}"
            )
        if chosen.threshold != "auto":
            return chosen
        value = "train" if variant == "reference" else CLEAN_THRESHOLD
        return chosen.model_copy(update={"threshold": value})

    @property
    def scoring(self) -> ClusterScoring:
        """The foreground at the input's size, clusterings of it at ``mask_size``."""
        params, classes = self.params, self.setting.n_classes
        objects = self._n_objects + 1  # one more: not foreground
        matching: Matching = "hungarian" if objects <= classes else "precision"
        kinds = [Clusterings(ObjectsMeanIoU, params.object_seeds, objects, objects, matching)]
        if params.communities:
            labels = classes + 1, classes  # all modules beyond are the last label
            seeds = params.community_seeds
            kinds.append(Clusterings(CommunitiesMeanIoU, seeds, *labels, "hungarian"))
            if params.upper_bound:
                fine = params.K_communities + 1
                kinds.append(Clusterings(UpperBoundMeanIoU, 1, fine, fine, "precision"))
        absent: Absent = "zero" if self._published else "nan"
        return ClusterScoring(("input",), self._foreground, classes, tuple(kinds), absent)

    @property
    def needs(self) -> Needs:
        """Passes for the moments, the projection and the attention."""
        return Needs(train_passes=3, val_passes=1, kept_train_views=1, val_in_fit=ALL_TOGETHER)

    def memory_plan(self, n_train: int, n_val: int) -> dict[str, int]:
        """Projected patches, the rows that PCA is fitted on, masks, and all labels."""
        params, n = self.params, n_train + n_val
        patches, width = n * self.grid**2, self.setting.embed_dim
        fitted = min(patches, params.pca_rows_per_dim * width)
        kinds = self.scoring.kinds
        return {
            "projected patches": patches * params.pca_dim * 4 * 2,
            "patches that PCA is fitted on": fitted * width * 4 * 2,
            "masks": n_val * self.input_size**2,
            "labels": n * params.mask_size**2 * (3 * 8 + sum(kind.repeats for kind in kinds)),
        }

    def fit(self, train: PatchSource, val: PatchSource) -> None:
        """Cluster the patches of all images, choose the foreground, and cluster that again.

        Raises:
            DensebenchError: the backbone gives no attention, there are fewer patches than
                clusters, or no cluster is foreground.
        """
        of_attention(val)  # so that a backbone without any is refused before the work
        params, world, n_images = self.params, self.setting.world, len(train) + len(val)
        view = Squash(self.input_size, self.setting.mean, self.setting.std, centred_mask=True)
        reduction = StreamedPCA(self.setting.embed_dim, params.pca_dim, params.pca_rows_per_dim)
        self.setting.watcher.status("standardise and PCA")
        fit_together((train, val), view, reduction, n_images * self.grid**2)
        parts = [attended(source, view, reduction, params.mass) for source in (train, val)]
        if world.is_main:
            learnt, scored = (part for part in parts if part is not None)
            clusterer = Clusterer(self._plan, self._foreground, self.setting.watcher)
            self._val, self._found = scored, clusterer.found(learnt, scored)

    def predict(self, val: PatchSource) -> Iterator[Prediction]:
        """The foreground and the labels of every clustering, at ``mask_size``.

        The first object clusters are what is shown.
        """
        if self._val is None or self._found is None:
            return
        indices, masks, labels = self._val.indices, self._val.masks, self._found.labels
        for start in range(0, len(indices), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            values = torch.from_numpy(labels[some])
            shown = values[:, 1].long()
            yield Prediction(indices[some], masks[some], labels=shown, values=values.float())
            val.watcher.advance(val.phase, len(shown))

    def details(self) -> dict[str, Any]:
        """The threshold, how many clusters are foreground, and how many communities there are."""
        return {} if self._found is None else self._found.told

    @property
    def _published(self) -> bool:
        return self.setting.variant == "reference"

    @property
    def _foreground(self) -> Foreground:
        setting = self.setting
        return Foreground.named(self.params.background, setting.target, self._published)

    @property
    def _n_objects(self) -> int:
        if self.params.K_objects == "classes":
            return max(1, self.setting.n_classes - len(self.params.background))
        return self.params.K_objects

    @property
    def _plan(self) -> Plan:
        params, setting = self.params, self.setting
        assert params.threshold != "auto"  # it is resolved
        graph = Graph(
            n_clusters=params.K_communities,
            weight_threshold=params.weight_threshold,
            markov_time=params.markov_time,
            seeds=params.community_seeds,
            upper_bound=params.upper_bound,
        )
        return Plan(
            size=params.mask_size,
            n_clusters=params.K,
            threshold=params.threshold,
            n_objects=self._n_objects,
            object_seeds=params.object_seeds,
            graph=graph if params.communities else None,
            n_classes=setting.n_classes,
            effort=Effort(params.niter, params.nredo, params.points_per_centroid),
            seed=setting.seed,
        )


PROTOCOL = Cbfe
