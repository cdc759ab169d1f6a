"""The floor as a whole: what it never imports."""

import pkgutil
import subprocess
import sys

from densebench import report

ALONE = """
import importlib, sys
importlib.import_module({module!r})
heavy = {{"torch", "torchvision", "faiss", "timm"}} & set(sys.modules)
above = [name for name in sys.modules if name.startswith(("densebench.run", "densebench.cli"))]
assert not heavy and not above, (heavy, above)
"""


def test_no_module_imports_torch_or_run() -> None:
    found = pkgutil.walk_packages(report.__path__, "densebench.report.")
    modules = [module.name for module in found if not module.ispkg]
    assert len(modules) > 20
    everything = "\n".join(ALONE.format(module=module) for module in modules)
    done = subprocess.run(
        [sys.executable, "-c", everything], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
