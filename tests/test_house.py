"""How the package is built: every import goes down, and files and classes stay small.

What is still too large, or still stands at the top, is listed here; a list can only shrink.
"""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import densebench

PACKAGE = Path(densebench.__file__).parent
TESTS = Path(__file__).parent
SETTINGS = PACKAGE.parent / "pyproject.toml"
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"

MOST_LINES, MOST_METHODS, MOST_LINES_OF_A_FUNCTION = 330, 14, 60
MOST_LINES_OF_TESTS = 400
AT_THE_TOP = {"__init__", "__main__", "api", "demo"}

# Of one name on several floors, where it means the same: a command has the name of what it calls.
SAME_MEANING = {"__init__", "__main__", "base", "load"}
# Tests of the whole, or of the files that lie beside the package.
CROSS_CUTTING = ("gpu", "invariance", "plugins", "robustness", "shipped")
OF_THE_WHOLE = {"golden_keys", "house", "architecture", "published", "readme", "wheel", "docs"}
OF_THE_WHOLE |= {"site", "notebooks", "contributing", "examples"}
# What is not yet under its module's name, or still too long.
STILL_ELSEWHERE = {
    "datasets/in_archives",
    "posttrain/cli_posttrain",
    "prepare/data_cli",
}
STILL_LONG_TESTS = {
    "backbones/weights/test_hub.py",
    "cards/test_cards.py",
    "features/test_cache.py",
    "posttrain/test_learner.py",
    "posttrain/test_trainer.py",
    "prepare/conftest.py",
    "prepare/test_pipeline.py",
}


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


def lengths(root: Path) -> dict[str, int]:
    return {
        file.relative_to(root).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in root.rglob("*.py")
    }


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """Everything of a kind in the package, with a name to tell it by."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield f"{file.relative_to(PACKAGE).as_posix()}:{getattr(node, 'name', '')}", node


def test_files_are_short() -> None:
    assert {name: n for name, n in lengths(PACKAGE).items() if n > MOST_LINES} == {}


def test_files_of_tests_are_short() -> None:
    long = {name for name, n in lengths(TESTS).items() if n > MOST_LINES_OF_TESTS}
    assert long == STILL_LONG_TESTS


def test_classes_have_few_methods() -> None:
    counted = {
        name: sum(isinstance(part, ast.FunctionDef) for part in node.body)
        for name, node in nodes(ast.ClassDef)
    }
    assert {name: n for name, n in counted.items() if n > MOST_METHODS} == {}


def test_functions_are_short() -> None:
    counted = {name: node.end_lineno - node.lineno + 1 for name, node in nodes(ast.FunctionDef)}
    assert {name: n for name, n in counted.items() if n > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_two_modules_of_one_name() -> None:
    found: dict[str, list[str]] = {}
    for name in modules():
        floor, _, stem = name.rpartition("/")
        if floor != "cli" and stem not in SAME_MEANING:
            found.setdefault(stem, []).append(name)
    assert {stem: names for stem, names in found.items() if len(names) > 1} == {}


def test_tests_are_under_their_modules_names() -> None:
    known = modules() | packages()
    elsewhere = {
        name
        for name in names_of_tests()
        if name not in known | OF_THE_WHOLE and name.split("/")[0] not in CROSS_CUTTING
    }
    assert elsewhere == STILL_ELSEWHERE


def test_every_module_has_a_test_of_its_name() -> None:
    assert sorted(modules() - names_of_tests()) == []


def modules() -> set[str]:
    """Every module that is no package, as ``floor/name``."""
    files = (file.relative_to(PACKAGE).with_suffix("") for file in PACKAGE.rglob("*.py"))
    return {file.as_posix() for file in files if not file.stem.startswith("__")}


def packages() -> set[str]:
    """Every package, as the name that its own tests have: ``floor/floor``."""
    folders = (file.parent.relative_to(PACKAGE) for file in PACKAGE.rglob("*/__init__.py"))
    return {f"{folder.as_posix()}/{folder.name}" for folder in folders}


def names_of_tests() -> set[str]:
    """The names of all files of tests, without ``test_``."""
    files = (file.relative_to(TESTS) for file in TESTS.rglob("test_*.py"))
    return {(file.parent / file.stem.removeprefix("test_")).as_posix() for file in files}
