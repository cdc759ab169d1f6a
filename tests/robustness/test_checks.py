"""Each check is missed by some case: without it, the suite is red."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The check, the file of cases that need it, and which of them.
NEEDED = {
    "formats": ("test_pictures.py", "test_no_image and extract and gif"),
    "regular files": ("test_pictures.py", "test_no_image and run and zero"),
    "depth of masks": ("test_pictures.py", "test_no_mask and bits and train"),
    "checksums": ("test_code_and_cards.py", "test_no_weights and flipped and pth"),
    "kinds of weights": ("test_code_and_cards.py", "test_no_weights and whole and pth"),
    "bounds": ("test_arguments.py", "test_no_value_of_a_parameter and train and seed"),
    "nesting": ("test_code_and_cards.py", "test_no_toml and keys and posttrain"),
    "exits": ("test_code_and_cards.py", "test_no_plug_in and leaves and extract"),
    "tensors": ("test_code_and_cards.py", "no_backbone and meta and run"),
    "whole numbers": ("test_code_and_cards.py", "no_backbone and dim and extract"),
}


@pytest.mark.slow
@pytest.mark.parametrize("check", NEEDED)
def test_without_a_check_the_suite_is_red(check: str) -> None:
    file, cases = NEEDED[check]
    command = [sys.executable, "-m", "pytest", "-n", "0", "--dist", "no", "-m", "", "-k", cases]
    for removed, code in ((check, 1), ("", 0)):
        done = subprocess.run(
            [*command, str(HERE / file)],
            env={**os.environ, "ROBUSTNESS_WITHOUT": removed},
            cwd=HERE.parents[1],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, f"without {removed or 'nothing'}: {done.stdout}"
