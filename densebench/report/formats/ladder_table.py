"""A ladder on the terminal."""

from rich.table import Table

from densebench.records.ladders import LadderRecord, RungRecord
from densebench.report.formats.escapes import literal

COLUMNS = ("rung", "protocol", "{main}", "95% interval", "what changes", "worth", "published")
MEANING = (
    "Each rung differs from the one above it in what stands beside it, and in nothing else. Worth: "
    "its number less the one above, on the same images, with its 95% interval. Published numbers "
    "are quoted, never measured here."
)


def ladder_table(found: LadderRecord) -> Table:
    """A row for each rung, from the first on."""
    table = Table(
        title=literal(f"{found.backbone} on {found.ladder}", "table.title"),
        title_justify="left",
        caption=literal("\n".join([MEANING, *_sources(found)]), "table.caption"),
        caption_justify="left",
    )
    main = next((f"{r.metric.title} {r.metric.unit}" for r in found.rungs if r.metric), "mIoU %")
    quotes = any(rung.published for rung in found.rungs)
    for column in COLUMNS if quotes else COLUMNS[:-1]:
        right = column in ("{main}", "worth")
        text = column.format(main=main).strip()
        table.add_column(text, justify="right" if right else "left", overflow="fold")
    for rung in found.rungs:
        table.add_row(*map(literal, _cells(rung)[: None if quotes else -1]))
    return table


def _cells(rung: RungRecord) -> list[str]:
    metric = rung.metric
    changed = "\n".join(part for part in (rung.factor, *rung.told) if part)
    protocol = f"{rung.protocol}, {rung.variant}"
    published = "; ".join(f"{n.backbone} {n.value:.1f}" for n in rung.published)
    if metric is None:
        return [rung.name, protocol, _missing(rung), "", changed, "", published]
    number, bounds = metric.text(metric.value), metric.interval_text
    return [rung.name, protocol, number, bounds, changed, worth(rung), published]


def _missing(rung: RungRecord) -> str:
    if rung.skipped:
        return f"not for this backbone: {rung.skipped}"
    return rung.failed or "to run"


def worth(rung: RungRecord) -> str:
    """What the rung's change is worth, with its interval; nothing where that is not known."""
    if rung.step is None or rung.metric is None:
        return ""
    step, metric = rung.step, rung.metric
    low, high = (metric.text(bound, sign=True) for bound in (step.low, step.high))
    return f"{metric.text(step.difference, sign=True)} ({low} to {high})"


def _sources(found: LadderRecord) -> list[str]:
    """Where the published numbers are from, each once."""
    every = (f"{n.backbone} {n.value:.1f}: {n.source}" for r in found.rungs for n in r.published)
    return list(dict.fromkeys(every))
