"""TOML into validated models, with errors of one line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from densebench.cards.toml import parse_toml, parse_value, read_toml, suggestion, validate
from densebench.host.errors import DensebenchError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = Field(gt=0)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner | None = None


@given(st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.booleans())
def test_a_value_is_read_as_it_is_written(value: Any) -> None:
    assert parse_value(str(value).lower()) == value


@pytest.mark.parametrize("text", ["auto", "a b", "1/128", "x]"])
def test_what_is_no_value_is_a_word(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a" + ".b" * 500 + " = 1"])
def test_nested_beyond_reason(text: str) -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml(text)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "x.toml: missing key 'name'"),
        ({"inner": {}}, "x.toml: missing key 'name'; also missing: 'inner.size'"),
        (
            {"name": "a", "iner": {}},
            "x.toml: unknown key 'iner' (did you mean 'inner'?); allowed are inner, name",
        ),
        (
            {"name": "a", "inner": {"siz": 1}},
            "x.toml: unknown key 'inner.siz' (did you mean 'size'?); allowed are size",
        ),
        (
            {"name": "a", "inner": {"size": -1}},
            "x.toml: key 'inner.size': input should be greater than 0, not -1",
        ),
    ],
)
def test_the_key_and_what_is_allowed_are_told(values: dict[str, Any], told: str) -> None:
    with pytest.raises(DensebenchError) as caught:
        validate(Outer, values, "x.toml")
    assert str(caught.value) == told


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'name = "a"\r\n')
    assert read_toml(tmp_path / "a.toml") == {"name": "a"}
    for content in (b"name = ", b"\xff"):
        (tmp_path / "a.toml").write_bytes(content)
        with pytest.raises(DensebenchError, match=r"a\.toml: not valid TOML"):
            read_toml(tmp_path / "a.toml")
    with pytest.raises(DensebenchError, match="cannot be read"):
        read_toml(tmp_path / "nowhere.toml")


def test_suggestions() -> None:
    assert suggestion("vco", ["voc", "coco"]) == " (did you mean 'voc'?)"
    assert suggestion("zzz", ["voc"]) == ""
