"""How the package is built: every import goes down, and files and classes stay small.

What is still too large, or still stands at the top, is listed here; a list can only shrink.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import densebench

PACKAGE = Path(densebench.__file__).parent
SETTINGS = PACKAGE.parent / "pyproject.toml"
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"

MOST_LINES, MOST_METHODS = 330, 14
AT_THE_TOP = {"__init__", "__main__", "api", "demo"}
STILL_LARGE: set[str] = set()


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    if not SETTINGS.is_file():
        pytest.skip("the installed package has no pyproject.toml beside it")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "densebench", ignore=ignored)
    shutil.copy(SETTINGS, tmp_path)
    return tmp_path


def test_every_import_goes_down(copied: Path) -> None:
    done = lint_imports(copied)
    assert done.returncode == 0, done.stdout
    assert "1 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "told"),
    [
        ("host/memory.py", "import densebench.cards.search", "densebench.host is not allowed"),
        (
            "run/plan.py",
            "def late() -> None:\n    from densebench.report.formats import html",
            "densebench.run.plan -> densebench.report.formats.html",
        ),
        ("datasets/base.py", "from densebench.features import cache", "densebench.features"),
        ("stray.py", "", "stray"),
    ],
)
def test_one_import_upwards_or_a_module_without_a_floor_is_told(
    copied: Path, module: str, line: str, told: str
) -> None:
    with (copied / "densebench" / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(copied)
    assert done.returncode == 1
    assert told in done.stdout


def test_what_stands_at_the_top() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == AT_THE_TOP


def test_files_are_short() -> None:
    lines = {
        file.relative_to(PACKAGE).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in PACKAGE.rglob("*.py")
    }
    assert {name for name, n in lines.items() if n > MOST_LINES} == set()


def test_classes_have_few_methods() -> None:
    methods = {
        node.name: sum(isinstance(part, ast.FunctionDef) for part in node.body)
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    }
    assert {name for name, n in methods.items() if n > MOST_METHODS} == STILL_LARGE
