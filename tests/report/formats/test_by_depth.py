"""The score of each layer as a table, as values and as a drawing."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from densebench.records.schema import RunRecord
from densebench.report.formats.by_depth import best, depth_drawing, depth_table, depth_values

SVG = "{http://www.w3.org/2000/svg}"


def of_layer(record: RunRecord, layer: int, value: float, **changes: object) -> RunRecord:
    values = json.loads(record.model_dump_json())
    values["backbone"] |= {"layers": [layer], "name": f"<a & b>, layer {layer}"}
    main = values["scores"][0]["metrics"][0]
    main |= {"value": value, **changes}
    main["interval"] |= {"low": value - 0.1, "high": value + 0.1}
    return RunRecord.model_validate(values)


@pytest.fixture
def found(tiny_record: RunRecord) -> list[RunRecord]:
    return [of_layer(tiny_record, n, v) for n, v in ((0, 0.2), (4, 0.5), (11, 0.4))]


def test_a_table(found: list[RunRecord]) -> None:
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(depth_table(found))
    lines = console.export_text().splitlines()
    assert lines[0].strip() == "<a & b> on tiny_retrieval, reference, by layer"
    rows = [line.split() for line in lines if "to" in line.split() and line[:1] == "│"]
    assert [row[1] for row in rows] == ["0", "4", "11"]
    assert [row[5] for row in rows] == ["20.00", "50.00", "40.00"]
    assert [line.count("█") for line in lines if "█" in line] == [12, 30, 24]
    assert [" best " in line for line in lines if "█" in line] == [False, True, False]


def test_values(found: list[RunRecord]) -> None:
    values = depth_values([(record, Path(f"{n}.json")) for n, record in enumerate(found)])
    assert json.loads(json.dumps(values)) == values
    assert (values["backbone"], values["best"], values["metric"]) == ("<a & b>", 4, "miou")
    assert [one["layer"] for one in values["layers"]] == [0, 4, 11]
    assert values["layers"][1]["value"] == 0.5
    assert values["layers"][1]["record"] == "1.json"


def test_where_less_is_better(tiny_record: RunRecord) -> None:
    found = [of_layer(tiny_record, n, v, higher=False) for n, v in ((0, 0.2), (1, 0.5))]
    assert best(found) == found[0]


def test_a_drawing(found: list[RunRecord]) -> None:
    root = ElementTree.fromstring(depth_drawing(found))
    dots = [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in root.iter(f"{SVG}circle")]
    assert len(dots) == 3
    assert dots[1][1] < dots[2][1] < dots[0][1]  # higher up is better
    steps = (dots[1][0] - dots[0][0]) / (dots[2][0] - dots[0][0])
    assert math.isclose(steps, 4 / 11, abs_tol=1e-3)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "<a & b> on tiny_retrieval: mIoU % by layer" in texts
    assert {"0", "4", "11", "10.00", "60.00"} <= set(texts)


def test_a_drawing_of_one_layer_and_of_none_that_differ(tiny_record: RunRecord) -> None:
    one = of_layer(tiny_record, 3, 0.5)
    flat = json.loads(one.model_dump_json())
    flat["scores"][0]["metrics"][0]["interval"] |= {"low": None, "high": None}
    drawn = depth_drawing([RunRecord.model_validate(flat)])
    assert "nan" not in drawn
    assert len(list(ElementTree.fromstring(drawn).iter(f"{SVG}circle"))) == 1
