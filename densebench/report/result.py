"""What an evaluation gives in Python: its record, and the numbers that one looks at first."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

from densebench.records.schema import MetricScore, RunRecord

SEGMENTATION = "miou"


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        record: all that is known of it.
        path: the record's file.
    """

    record: RunRecord
    path: Path

    @property
    def metric(self) -> str:
        """The name of the metric that is ranked: ``miou``, ``rmse``, ..."""
        return self._main.name

    @property
    def value(self) -> float:
        """The metric that is ranked; a share such as mIoU as a fraction, an error in its unit."""
        return self._main.value

    @property
    def miou(self) -> float:
        """The mean IoU, as a fraction.

        Raises:
            AttributeError: the task measures something else.
        """
        found = self.record.score.of(SEGMENTATION)
        if found is None:
            raise AttributeError(f"{self.record.task} measures {self.metric}: see value")
        return found.value

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Bounds of the 95% interval of ``value``; None where there is no bound."""
        found = self.record.score.interval
        return found.low, found.high

    @property
    def per_class(self) -> dict[str, float | None]:
        """IoU by class, None for one in neither truth nor prediction; empty of other targets."""
        return dict(self.record.score.classes)

    @property
    def _main(self) -> MetricScore:
        return self.record.score.main

    def __repr__(self) -> str:
        main, record = self._main, self.record
        partial = ", partial" if record.partial else ""
        return (
            f"{record.backbone.name} on {record.task}, {record.protocol.variant}{partial}: "
            f"{main.title} {main.text(main.value)} {main.unit} ({main.interval_text})"
        )

    def _repr_html_(self) -> str:
        """A small table, for a notebook."""
        facts = [
            ("backbone", self.record.backbone.name),
            ("task", f"{self.record.task}, {self.record.protocol.variant}"),
            (f"{self._main.title}, {self._main.unit}", self._main.text(self.value)),
            ("95% interval", self._main.interval_text),
            ("record", str(self.path)),
        ]
        facts += [(name, _share(iou)) for name, iou in self.per_class.items()]
        rows = (f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts)
        return f"<table>{''.join(rows)}</table>"


def _share(iou: float | None) -> str:
    return "absent" if iou is None else f"{100 * iou:.1f} %"
