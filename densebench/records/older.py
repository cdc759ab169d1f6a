"""Records of schema 1, which knew mIoU alone, as the present schema says the same."""

from typing import Any

# Name, title, and how a class that is nowhere counts.
OTHERS = (
    ("miou_absent_zero", "mIoU, absent classes as 0", "zero"),
    ("miou_absent_left_out", "mIoU, absent classes left out", "nan"),
    ("pixel_accuracy", "pixel accuracy", None),
)
SHARE = {"unit": "%", "higher": True, "scale": 100.0, "decimals": 2}


def converted(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a record in the present schema; those of schema 2 as they are.

    What the older schema lacks keeps its default. The ranked rule for absent classes is that of the
    number that equals the ranked one; where both do, the variant's, as all protocols had it.

    Raises:
        LookupError: a record of schema 1 lacks what all of them have.
        TypeError: likewise; something is of another kind.
    """
    if values.get("schema_version") != 1:
        return values
    published = values["protocol"]["variant"] == "reference"
    scores = [_score(score, "zero" if published else "nan") for score in values["scores"]]
    tf32 = str(values["precision"]).startswith("tf32")
    return {**values, "schema_version": 2, "tf32": tf32, "scores": scores}


def _score(old: dict[str, Any], rule: str) -> dict[str, Any]:
    score = dict(old)
    value, repeats, interval = (score.pop(key) for key in ("miou", "repeats", "interval"))
    main = {"name": "miou", "title": "mIoU", "value": value, "repeats": repeats, **SHARE}
    if value != old["miou_absent_zero"] or value != old["miou_absent_left_out"]:
        rule = "zero" if value == old["miou_absent_zero"] else "nan"
    metrics = [{**main, "parameters": {"absent": rule}, "interval": interval}]
    for name, title, absent in OTHERS:
        value = score.pop(name)
        parameters = {} if absent is None else {"absent": absent}
        other = {"name": name, "title": title, "value": value, "repeats": [value], **SHARE}
        metrics.append({**other, "parameters": parameters})
    classes = score.pop("iou")
    return {**score, "metrics": metrics, "classes": classes}
