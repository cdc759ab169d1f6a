"""Packages that are functions as well."""

import subprocess
import sys

import pytest

import densebench


@pytest.mark.parametrize("first", ["import densebench.backbones", "", "import densebench.api"])
def test_whatever_was_imported_first(first: str) -> None:
    code = (
        f"{first}\nimport sys, densebench as db\n"
        "assert db.backbones('hog_s*') == ['hog_s14']\n"
        "assert 'torch' not in sys.modules\n"
        "assert db.backbones.load_backbone('hog_s14').patch_size == 14\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_both_are_what_they_say() -> None:
    for name in densebench.CALLABLE:
        assert callable(getattr(densebench, name))
