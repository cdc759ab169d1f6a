"""The text of a pull request."""

import json
from collections.abc import Callable
from pathlib import Path

from densebench.records.schema import RunRecord
from densebench.submission.request_text import request_text


def test_a_row_for_each_record_and_what_was_checked(record_file: Callable) -> None:
    record = RunRecord(**json.loads(record_file().read_text()))
    strange = record.model_copy(
        update={"backbone": record.backbone.model_copy(update={"name": "a|b <x> $title"})}
    )
    text = request_text([(Path("there.json"), record), (Path("x.json"), strange)])
    main = record.score.main
    assert f"| rgb_s14 | tiny_retrieval | reference | mIoU {main.text(main.value)} % |" in text
    assert f"[{record.run_id}](there.json)" in text
    assert r"a\|b &lt;x&gt; $title" in text
    assert "# 2 records of rgb_s14" in text
    assert "computed again from the evidence" in text
    assert f"- {record.run_id}: {record.created[:10]}" in text
