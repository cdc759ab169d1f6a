"""Numbers that others published: quoted beside ours, never ranked, never in one cell with them."""

from densebench.cards import Card, read_toml, resource_path, validate
from densebench.records.schema import RunRecord


class PublishedNumber(Card):
    """A number that somebody else published, for one task as its card ships.

    ``value`` is as it is printed, in the metric's unit.
    ``n_train`` and ``n_val`` keep it away from runs on other splits of the same dataset. ``note``
    is what the source leaves open, said beside the number.
    """

    task: str
    variant: str
    backbone: str
    metric: str = "miou"
    value: float
    n_train: int | None = None
    n_val: int
    subset: str | None = None  # the published list of a share of the training images
    source: str
    note: str = ""

    @property
    def text(self) -> str:
        """The number, as precise as sources give it."""
        return f"{self.value:.1f}"

    @property
    def told(self) -> str:
        """Where the number is from, and what is to be known of it."""
        return f"{self.source}; {self.note}" if self.note else self.source

    def fits(self, record: RunRecord) -> bool:
        """Whether the record is of that backbone on the task as it ships, with all its images."""
        data, protocol = record.dataset, record.protocol
        return (
            (self.task, self.variant, self.backbone, self.subset)
            == (record.task, protocol.variant, record.backbone.name, data.subset)
            and self.metric == record.score.main.name
            and protocol.as_shipped
            and not record.partial
            and not data.skipped
            and self.n_train in (None, data.n_train)
            and self.n_val == data.n_val
        )


class PublishedNumbers(Card):
    """The file ``published.toml``."""

    number: tuple[PublishedNumber, ...]


def load_published() -> tuple[PublishedNumber, ...]:
    """The published numbers that come with densebench."""
    path = resource_path("published.toml")
    return validate(PublishedNumbers, read_toml(path), str(path)).number
