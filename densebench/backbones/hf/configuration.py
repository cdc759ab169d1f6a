"""What a model's own files say of it: its configuration, and how its images are normalised.

Nothing of what a file says is run, and no number in it is believed before it is looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from densebench.backbones.base import Triple
from densebench.backbones.hf.kinds import KINDS, Kind
from densebench.backbones.user_code import three_numbers
from densebench.cards import suggestion
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError

CONFIG = "config.json"
PREPROCESSORS = ("preprocessor_config.json", "processor_config.json")
LARGEST_FILE = 10_000_000  # bytes
LARGEST_NUMBER, MOST_BLOCKS = 1_000_000, 1000
# Of a configuration what says nothing of the features.
ASIDE = {
    "_name_or_path",
    "_commit_hash",
    "architectures",
    "auto_map",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "id2label",
    "label2id",
    "initializer_range",
    "initializer_factor",
    "out_features",
    "out_indices",
    "stage_names",
    "problem_type",
    "return_dict",
    "num_labels",
}
NO_TRANSFORMERS = (
    "hf: backbones need transformers, which is not installed; "
    "`pip install 'densebench[hf]'` brings it"
)


@dataclass(frozen=True)
class Configuration:
    """A model's configuration.

    Attributes:
        kind: what type of model it is of.
        model_type: that type's name.
        stated: what the file says of the image encoder, but for what changes no feature.
        config: the same as transformers' own object.
        file: where it is from.
    """

    kind: Kind
    model_type: str
    stated: dict[str, Any]
    config: Any
    file: Path

    def facts(self) -> dict[str, Any]:
        """What a card says about the model, as the model itself has it."""
        registers = getattr(self.config, "num_register_tokens", 0)
        return {
            "patch_size": self.patch_size,
            "embed_dim": self.config.hidden_size,
            "prefix_tokens": self.kind.class_tokens + registers,
        }

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        given = self.config.patch_size
        return int(given if isinstance(given, int) else given[0])


def read_configuration(path: Path) -> Configuration:
    """The configuration of an image encoder, alone or beside a text encoder.

    Raises:
        DensebenchError: it cannot be read, or is of no model that can be a backbone.
    """
    values = read_object(path)
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in KINDS:
        known = f"known are {', '.join(KINDS)}"
        if model_type is None:
            raise DensebenchError(f"{path}: has no model_type; {known}")
        own = "; its own code is never run" if "auto_map" in values else ""
        raise DensebenchError(
            f"{path}: model_type {model_type!r:.60} is none that can be a backbone"
            f"{suggestion(str(model_type), KINDS)}{own}; {known}; wrap another in a plug-in"
        )
    inner = values.get("vision_config", values)
    if not isinstance(inner, dict):
        raise DensebenchError(f"{path}: its vision_config is no table")
    _check_numbers(inner, path)
    kind = KINDS[model_type]
    config = _as_config(kind, {**inner, **kind.settings}, path)
    found = Configuration(kind, model_type, _stated(inner), config, path)
    _check_shape(found, path)
    return found


def _stated(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in sorted(values.items()) if key not in ASIDE}


def _check_numbers(values: dict[str, Any], path: Path) -> None:
    """Nothing, unless a number is so large that the model would not fit anywhere."""
    for key, value in values.items():
        most = MOST_BLOCKS if key == "num_hidden_layers" else LARGEST_NUMBER
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(n, int | float) and not abs(n) <= most for n in numbers):
            raise DensebenchError(f"{path}: {key} is {value!r:.40}, which no model has")


def _as_config(kind: Kind, values: dict[str, Any], path: Path) -> Any:
    """Transformers' own object."""
    transformers = import_transformers()
    of_model = getattr(transformers, kind.model, None)
    if of_model is None:
        raise DensebenchError(
            f"{path}: transformers {transformers.__version__} has no {kind.model}; "
            "`pip install -U transformers` brings it"
        )
    told = {key: value for key, value in values.items() if key not in ("model_type", "auto_map")}
    try:
        return of_model.config_class.from_dict(told)
    except Exception as error:  # transformers and its validation raise what they happen to raise
        reason = " ".join(str(error).split())[:200]
        raise DensebenchError(f"{path}: no configuration of {kind.model}: {reason}") from error


def _check_shape(found: Configuration, path: Path) -> None:
    """Nothing, for square patches of RGB images that go through blocks."""
    config = found.config
    patch = config.patch_size
    sides = patch if isinstance(patch, list | tuple) else [patch, patch]
    counts = [*sides, config.hidden_size, config.num_hidden_layers, config.num_attention_heads]
    counts += [getattr(config, "num_register_tokens", 0) + 1]
    if any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in counts):
        raise DensebenchError(f"{path}: sizes are whole numbers from 1 on, not {counts}")
    if len(sides) != 2 or sides[0] != sides[1]:
        raise DensebenchError(f"{path}: patches of {patch} pixels; only square ones are supported")
    if config.num_channels != 3:
        raise DensebenchError(f"{path}: takes {config.num_channels} channels; images have 3")


def read_normalisation(
    configuration: Configuration, find: Callable[[str], Path | None]
) -> tuple[Triple, Triple] | None:
    """Mean and deviation by which images in [0, 1] are normalised; None where no file says.

    Args:
        configuration: the model's.
        find: gives a file of the model's by its name, or None.

    Raises:
        DensebenchError: a file that cannot be read, or says something else.
    """
    for name in PREPROCESSORS:
        path = find(name)
        values = None if path is None else read_object(path)
        if values is not None and name == PREPROCESSORS[1]:
            values = values.get("image_processor")
        if path is not None and isinstance(values, dict) and "image_mean" in values:
            return _normalisation(values, configuration.kind, path)
    return None


def _normalisation(values: dict[str, Any], kind: Kind, path: Path) -> tuple[Triple, Triple]:
    """Of bytes that are multiplied by a factor first, 1/255 as a rule."""
    if values.get("do_normalize") is False:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    else:
        mean = three_numbers("mean", values["image_mean"], str(path))
        std = three_numbers("std", values.get("image_std", kind.std), str(path))
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1:
        raise DensebenchError(f"{path}: rescale_factor is {factor!r:.40}, and 1/255 was expected")
    if abs(scale := 255 * factor - 1) < 1e-4:  # as text it is 0.00392156862745098
        return mean, std
    return _divided(mean, scale + 1), _divided(std, scale + 1)


def _divided(values: Triple, by: float) -> Triple:
    return values[0] / by, values[1] / by, values[2] / by


def read_object(path: Path) -> dict[str, Any]:
    """The table in a JSON file.

    Raises:
        DensebenchError: it cannot be read, or holds something else.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise DensebenchError(f"{path}: is larger than {LARGEST_FILE:,} bytes; no such file is")
        values = read_json(path)
    except ValueError as error:
        raise DensebenchError(f"{path}: not valid JSON: {error}") from error
    except OSError as error:
        raise DensebenchError(f"{path}: cannot be read: {error.strerror}") from error
    if not isinstance(values, dict):
        raise DensebenchError(f"{path}: holds no table, but {type(values).__name__}")
    return values


def import_transformers() -> Any:
    """The library.

    Raises:
        DensebenchError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise DensebenchError(NO_TRANSFORMERS) from error
    return transformers
