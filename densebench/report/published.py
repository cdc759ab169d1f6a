"""Numbers that others published: quoted beside ours, never ranked, never in one cell with them."""

from typing import Any

from densebench.cards import Card, read_toml, resource_path, validate
from densebench.results import RunRecord


class PublishedNumber(Card):
    """A number that somebody else published, in per cent, for one task and its parameters.

    ``n_train`` and ``n_val`` keep it away from runs on other splits of the same dataset.
    """

    task: str
    variant: str
    backbone: str
    miou: float
    params: dict[str, Any]
    n_train: int | None = None
    n_val: int
    source: str
    note: str = ""  # what must be known to compare with it

    def fits(self, record: RunRecord) -> bool:
        """Whether the record is of the same backbone, protocol and number of images."""
        data, protocol = record.dataset, record.protocol
        return (
            (self.task, self.variant, self.backbone)
            == (record.task, protocol.variant, record.backbone.name)
            and all(protocol.params.get(key) == value for key, value in self.params.items())
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
