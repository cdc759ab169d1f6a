"""`densebench doctor` shows findings by section and ends with 2 where one is broken."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from densebench.doctor import Finding

pytestmark = pytest.mark.usefixtures("own_places")
Cli = Callable[..., Any]
GOOD = Finding("disk", "cache", "ok", "1 GB free")
BAD = Finding("disk", "results", "broken", "cannot be written", "mend it so")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    findings = [GOOD]
    monkeypatch.setattr("densebench.api.examine", lambda root, results: findings)
    return findings


def test_all_well(run: Cli, found: list[Finding]) -> None:
    done = run("doctor")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["disk", "  ok     cache            1 GB free"]


def test_broken(run: Cli, found: list[Finding]) -> None:
    found.append(BAD)
    done = run("doctor")
    assert "1 of 2 findings are broken" in done.error
    assert done.out.splitlines()[-1] == "         mend: mend it so"
    told = json.loads(run("doctor", "--json").out)
    assert told["ok"] is False
    assert [finding["state"] for finding in told["findings"]] == ["ok", "broken"]
