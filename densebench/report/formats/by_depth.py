"""The score of each layer of a backbone: a table with bars, a drawing, and values for scripts."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.table import Table

from densebench.cards.block_numbers import layers_text
from densebench.host.console import one_line
from densebench.records.schema import MetricScore, RunRecord
from densebench.report.formats.escapes import literal

BAR = 30  # characters of the longest
WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 48  # margins of the drawing
TICKS = 5
INK, BAND, GRID = "#1f5fa8", "#1f5fa833", "#d8d8d8"
MEANING = (
    "Layers are blocks, counted from 0, each after the final normalisation, where there is one. "
    "The best one was chosen on the images that it is scored on."
)


def depth_table(found: Sequence[RunRecord]) -> Table:
    """A row for each layer, from the first on; bars begin at 0."""
    first = found[0]
    title = f"{bare_name(found)} on {first.task}, {first.protocol.variant}, by layer"
    table = Table(title=literal(title, "table.title"), title_justify="left")
    main = first.score.main
    table.add_column("layer", justify="right")
    table.add_column("dim", justify="right")
    table.add_column(literal(f"{main.title} {main.unit}".strip()), justify="right")
    table.add_column("95% interval", overflow="fold")
    table.add_column("")
    longest, top = max(abs(one.score.value) for one in found) or 1.0, best(found)
    for one in found:
        score, mark = one.score, " best" if one == top else ""
        bar = "█" * round(BAR * abs(score.value) / longest) + mark
        cells = str(layer_of(one)), str(one.backbone.embed_dim), score.main.text(score.value)
        table.add_row(*map(literal, (*cells, score.main.interval_text, bar)))
    table.caption, table.caption_justify = literal(MEANING, "table.caption"), "left"
    return table


def depth_values(runs: Sequence[tuple[RunRecord, Path]]) -> dict[str, Any]:
    """All of it as values of JSON; scores as their records have them, without units."""
    found = [record for record, _ in runs]
    first = found[0]
    return {
        "backbone": bare_name(found),
        "task": first.task,
        "variant": first.protocol.variant,
        "metric": first.score.main.name,
        "best": layer_of(best(found)),
        "layers": [
            {
                "layer": layer_of(one),
                "embed_dim": one.backbone.embed_dim,
                "value": one.score.value,
                "low": one.score.interval.low,
                "high": one.score.interval.high,
                "run_id": one.run_id,
                "record": str(path),
            }
            for one, path in runs
        ],
    }


def depth_drawing(found: Sequence[RunRecord]) -> str:
    """A picture in SVG: the score over the number of the block, with its interval."""
    main = found[0].score.main
    spans = [_span(one) for one in found]
    ends = min(span[0] for span in spans), max(span[2] for span in spans)
    low, high = ends if ends[1] > ends[0] else (ends[0] - 0.01, ends[0] + 0.01)
    layers = [layer_of(one) for one in found]

    def x(layer: int) -> float:
        share = (layer - layers[0]) / max(1, layers[-1] - layers[0])
        return round(LEFT + 8 + share * (WIDTH - LEFT - RIGHT - 16), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    heights = [tuple(map(y, span)) for span in spans]
    over = [(x(layer), h[2]) for layer, h in zip(layers, heights, strict=True)]
    under = [(x(layer), h[0]) for layer, h in zip(layers, heights, strict=True)]
    line = [(x(layer), h[1]) for layer, h in zip(layers, heights, strict=True)]
    parts = [
        *_scale(main, low, high, y),
        *(_text(x(n), HEIGHT - BOTTOM + 18, str(n), "middle") for n in _some(layers)),
        f'<polygon points="{_points([*over, *reversed(under)])}" fill="{BAND}"/>',
        f'<polyline points="{_points(line)}" fill="none" stroke="{INK}" stroke-width="2"/>',
        *(f'<circle cx="{cx}" cy="{cy}" r="3" fill="{INK}"/>' for cx, cy in line),
    ]
    return _document(parts, f"{bare_name(found)} on {found[0].task}", _head(main))


def best(found: Sequence[RunRecord]) -> RunRecord:
    """The layer with the best score; of equals the first."""
    sign = 1 if found[0].score.main.higher else -1
    return max(found, key=lambda one: sign * one.score.value)


def layer_of(record: RunRecord) -> int:
    """The one block that a run is of."""
    (layer,) = record.backbone.layers or (-1,)
    return layer


def bare_name(found: Sequence[RunRecord]) -> str:
    """The backbone, without the layer that stands in the name of each row."""
    name = found[0].backbone.name
    return name.removesuffix(f", {layers_text((layer_of(found[0]),))}")


def _span(one: RunRecord) -> tuple[float, float, float]:
    """A score between its bounds; where there are none, they are the score."""
    score = one.score
    low, high = score.interval.low, score.interval.high
    return (
        score.value if low is None else min(low, score.value),
        score.value,
        score.value if high is None else max(high, score.value),
    )


def _some(layers: Sequence[int]) -> Sequence[int]:
    """Those whose numbers have room under the drawing."""
    return layers[:: -(-len(layers) // 24)]


def _head(main: MetricScore) -> str:
    return f"{main.title} {main.unit}".strip()


def _scale(main: MetricScore, low: float, high: float, y: Any) -> list[str]:
    values = [low + (high - low) * number / (TICKS - 1) for number in range(TICKS)]
    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v)}" y2="{y(v)}" stroke="{GRID}"/>'
        for v in values
    ]
    return lines + [_text(LEFT - 6, y(v) + 4, main.text(v), "end") for v in values]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(one_line(text))}</text>'


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _document(parts: Sequence[str], title: str, unit: str) -> str:
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 20, f"{title}: {unit} by layer", "start"),
        _text(WIDTH / 2, HEIGHT - 10, "block, counted from 0; band: 95% interval", "middle"),
    ]
    return "\n".join([*head, *parts, "</svg>"]) + "\n"
