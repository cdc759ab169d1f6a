"""Models of transformers with weights: from a file, drawn at random, and back into a file."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from densebench.backbones.hf.configuration import (
    Configuration,
    import_transformers,
    read_object,
)
from densebench.backbones.hf.kinds import HEADS
from densebench.backbones.weights.state_dict import StateDict, listed, read_state_dict
from densebench.host.errors import DensebenchError

INDEX = ".index.json"
SAVED = "model.safetensors"
IDLE = "mask_token"  # which images that are whole never meet
TOWERS = ("vision_model.", "vit.", "dinov2.", "dinov2_with_registers.", "model.")
MOST_SHARDS = 1000


def shards(index: Path) -> list[str]:
    """The names of the files that weights are spread over, as their index lists them.

    Raises:
        DensebenchError: it cannot be read, or names files elsewhere.
    """
    by_name = read_object(index).get("weight_map")
    files = list(dict.fromkeys(by_name.values())) if isinstance(by_name, dict) else []
    plain = all(
        isinstance(f, str) and Path(f).name == f and f.endswith(".safetensors") for f in files
    )
    if not files or not plain or len(files) > MOST_SHARDS:
        raise DensebenchError(f"{index}: lists no .safetensors files that lie beside it")
    return files


def read_weights(path: Path, find: Callable[[str], Path]) -> StateDict:
    """The tensors of a file, or of all the files that an index lists.

    Args:
        path: a ``.safetensors`` file, a pickle without code, or an index.
        find: gives a file beside it by its name.

    Raises:
        DensebenchError: one of them cannot be read.
    """
    if not path.name.endswith(INDEX):
        return read_state_dict(path)
    state: StateDict = {}
    for name in shards(path):
        state |= read_state_dict(find(name))
    return state


def filled(
    configuration: Configuration, state: StateDict, origin: Path, dropped: tuple[str, ...] = HEADS
) -> nn.Module:
    """The encoder with weights, by transformers' own loader, which knows the names of its files.

    Args:
        configuration: of the model.
        state: its weights, and maybe others.
        origin: where they are from, for messages.
        dropped: the beginnings of names that may be there beside the encoder's.

    Raises:
        DensebenchError: weights of another model: larger or smaller, or by other names.
    """
    _check_kinds(state, origin)
    wanted = sum(tensor.numel() for tensor in _empty(configuration).parameters())
    given = sum(tensor.numel() for tensor in state.values())
    if wanted > given:
        raise DensebenchError(
            f"{origin}: holds {given:,} numbers, and its config.json is of a model of {wanted:,}; "
            "these are other weights"
        )
    with _quiet():
        try:
            model, told = _class(configuration).from_pretrained(
                None,
                config=configuration.config,
                state_dict=state,
                dtype=torch.float32,
                attn_implementation="sdpa",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **configuration.kind.arguments,
            )
        except Exception as error:  # whatever its loader raises
            reason = " ".join(str(error).split())[:200]
            raise DensebenchError(f"{origin}: does not fit its config.json: {reason}") from error
    _check_told(told, origin, dropped)
    for name, parameter in model.named_parameters():
        if name in told["missing_keys"]:  # the mask token, which nothing reads
            parameter.data.zero_()
    return model


def _check_kinds(state: StateDict, origin: Path) -> None:
    """Nothing, if all are real numbers, but for the numbers of places in older files."""
    for name, tensor in state.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            raise DensebenchError(f"{origin}: {name} is no plain tensor; save it as one")
        if not tensor.is_floating_point() and "position_ids" not in name:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise DensebenchError(f"{origin}: {name} holds {kind}; these are quantised weights")


def _check_told(told: dict[str, Any], origin: Path, dropped: tuple[str, ...]) -> None:
    missing = sorted(key for key in told["missing_keys"] if not key.endswith(IDLE))
    extra = sorted(key for key in told["unexpected_keys"] if not _is_dropped(key, dropped))
    misshapen = sorted(
        f"{key} {list(given)} instead of {list(wanted)}"
        for key, given, wanted in told["mismatched_keys"]
    )
    if missing or extra or misshapen:
        problems = (
            listed("missing", missing),
            listed("not known here", extra),
            listed("of another shape", misshapen),
        )
        raise DensebenchError(f"{origin}: keys {'; '.join(filter(None, problems))}")


def _is_dropped(key: str, dropped: tuple[str, ...]) -> bool:
    bare = next((key.removeprefix(tower) for tower in TOWERS if key.startswith(tower)), key)
    return key.startswith(dropped) or bare.startswith(dropped)


def random_model(configuration: Configuration, seed: int) -> nn.Module:
    """The encoder with weights as transformers draws them, from a seed."""
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(seed)
        model: nn.Module = _built(configuration)
        return model.float()


def _empty(configuration: Configuration) -> nn.Module:
    with torch.device("meta"), _quiet():
        return _built(configuration)


def _built(configuration: Configuration) -> Any:
    try:
        return _class(configuration)(configuration.config, **configuration.kind.arguments)
    except Exception as error:  # of a configuration that is none of a model
        reason = " ".join(str(error).split())[:200]
        raise DensebenchError(f"{configuration.file}: makes no model: {reason}") from error


def _class(configuration: Configuration) -> Any:
    return getattr(import_transformers(), configuration.kind.model)


def saved(model: Any) -> tuple[StateDict, bytes]:
    """Weights in the names of transformers' files, and the configuration beside them."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        model.save_pretrained(folder, max_shard_size="1000GB")
        state = read_state_dict(Path(folder) / SAVED)
        return state, (Path(folder) / "config.json").read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing but errors of transformers': what it reports is checked."""
    logging = import_transformers().logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
