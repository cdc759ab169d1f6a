"""TOML read into frozen, validated models; what is wrong with it is told in one line."""

import difflib
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from densebench.files.regular import read_bytes
from densebench.host.errors import DensebenchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

C = TypeVar("C", bound=BaseModel)
DEEPEST = 50
UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary.

    Raises:
        DensebenchError: the file cannot be read or is no TOML.
    """
    try:
        return parse_toml(read_bytes(path).decode("utf-8"))
    except ValueError as error:
        raise DensebenchError(f"{path}: not valid TOML: {error}") from error
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a TOML text is.

    Raises:
        ValueError: it is no TOML, is nested beyond all reason, or has a number of thousands of
            digits.
    """
    try:
        values = tomllib.loads(text.replace("\r\n", "\n"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    _check_depth(values)
    return values


def _check_depth(values: dict[str, Any]) -> None:
    """Dotted keys nest without a recursion of the parser's, and recur in all that comes after."""
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        inside = [v.values() if isinstance(v, dict) else v for v in level]
        level = [v for held in inside for v in held if isinstance(v, dict | list)]
    if level:
        raise ValueError("it is nested too deeply")


def parse_value(text: str) -> Any:
    """A value in TOML's notation; what is none, such as a bare word, is a string."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise DensebenchError(f"{text:.20}...: no value: {error}") from error


def validate(model: type[C], values: dict[str, Any], where: str) -> C:
    """``values`` as a model, or one line that names the place, the key and what is allowed.

    Raises:
        DensebenchError: an unknown or missing key, or a bad value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise DensebenchError(f"{where}: {_first_problem(model, error)}") from None


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # A misspelt key is unknown and missing at once; the unknown one tells which it was.
    problem = next((p for p in problems if p["type"] in UNKNOWN_KEY), problems[0])
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] in UNKNOWN_KEY:
        allowed = sorted(_fields(_model_at(model, path[:-1])))
        return (
            f"unknown key '{key}'{suggestion(path[-1], allowed)}; allowed are {', '.join(allowed)}"
        )
    if problem["type"] == "missing":
        others = [".".join(map(str, p["loc"])) for p in problems if p["type"] == "missing"][1:]
        also = f"; also missing: {', '.join(map(repr, others))}" if others else ""
        return f"missing key '{key}'{also}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"key '{key}': {message}" + _given(problem) if key else message


def _given(problem: Any) -> str:
    value = problem["input"]
    return "" if isinstance(value, dict) else f", not {value!r}"


def _model_at(model: type, path: list[str]) -> type:
    """The model of a nested table, following the annotation of each key on the way."""
    for key in (part for part in path if not part.isdecimal()):  # a list's model is its items'
        annotation = _fields(model)[key]
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(o for o in options if isinstance(o, type) and _fields(o))
    return model


def _fields(model: type) -> dict[str, Any]:
    """Keys of a model or a dataclass, with what they hold."""
    if issubclass(model, BaseModel):
        return {key: field.annotation for key, field in model.model_fields.items()}
    return {f.name: f.type for f in fields(model)} if is_dataclass(model) else {}


def suggestion(name: str, known: Any) -> str:
    """``" (did you mean 'x'?)"`` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
