"""Names of records as components of paths."""

from pathlib import Path

import pytest

from densebench.records.called import safe_name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("dinov2_s14@my-weights.v2", "dinov2_s14@my-weights.v2"),
        ("timm:vit_small.a", "timm_vit_small.a"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a b/c.py:f", "a_b_c.py_f"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "hidden"),
    ],
)
def test_a_name_is_one_component_of_a_path(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert Path("x", safe_name(name)).parent == Path("x")


def test_long_names_fit_a_file_system_and_stay_apart() -> None:
    a, b = safe_name("x" * 1000 + "a"), safe_name("x" * 1000 + "b")
    assert len(a) < 150
    assert a != b
