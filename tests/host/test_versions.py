"""Versions are told without importing what they are of."""

import platform
import subprocess
import sys
from importlib import metadata

import numpy as np

from densebench import __version__
from densebench.host.versions import versions


def test_of_densebench_python_and_the_libraries() -> None:
    found = versions()
    assert found["densebench"] == __version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["torch"] == metadata.version("torch")
    assert any(name.startswith("faiss-") for name in found)
    assert all(found.values())


def test_nothing_is_imported() -> None:
    code = (
        "import sys; from densebench.host.versions import versions; versions();"
        "assert not {'torch', 'numpy', 'timm', 'faiss'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
