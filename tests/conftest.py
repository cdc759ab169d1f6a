"""What the tests share: golden arrays of the published code, and the real data where present."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, np.ndarray]]:
    """Arrays that the published implementations computed, by the name of their file."""

    def load(name: str) -> dict[str, np.ndarray]:
        kept = GOLDEN / f"{name}.npz"
        path = kept if kept.exists() else SHARED / "goldens" / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"golden arrays {name}.npz are not here")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs with masks."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("real photographs with masks (../shared/data) are not here")
    return folder
