"""How an error is told."""

import pytest

from densebench.doctor.findings import reason, remedy_for, size_text
from densebench.host.errors import DensebenchError


@pytest.mark.parametrize(
    ("error", "told", "remedy"),
    [
        (DensebenchError("a;\ndo b"), "a; do b", "as said"),
        (ValueError("first\nsecond"), "ValueError: first", "report it with this output"),
        (KeyError(), "KeyError", "report it with this output"),
    ],
)
def test_in_one_line(error: BaseException, told: str, remedy: str) -> None:
    assert reason(error) == told
    assert remedy_for(error) == remedy


def test_sizes() -> None:
    assert size_text(2_500_000_000) == "2.50 GB"
