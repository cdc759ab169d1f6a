"""What weights were when they were loaded, so that a run that is done opens none.

One small JSON file in the cache for a file of weights by its content, the card, how the user calls
them, and the code and the libraries that load them. What a plug-in does is not known, so of one
nothing is remembered.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from densebench import backbones
from densebench.backbones.family import family_of
from densebench.cards import FAMILIES
from densebench.files.atomic import write_atomically
from densebench.files.hashes import content_hash, content_hashes
from densebench.files.regular import read_json
from densebench.host.errors import DensebenchError
from densebench.host.paths import cache_home
from densebench.host.versions import versions
from densebench.run.plan import Plan


@dataclass(frozen=True)
class Weights:
    """Which weights a run has.

    Attributes:
        name: of the leaderboard's row.
        fingerprint: of the backbone that they make.
    """

    name: str
    fingerprint: str


def recall(plan: Plan) -> Weights | None:
    """What the weights were when they were loaded last, if they and all around are the same."""
    key = _key(plan)
    if key is None:
        return None
    try:
        return Weights(**read_json(_file(key)))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def remembering(plan: Plan) -> Iterator[Callable[[Weights], None]]:
    """While weights are loaded: takes what they are, unless their file changed meanwhile.

    The file is read anew, which corrects what the index of hashes says of it.
    """
    before = _key(plan, fresh=True)

    def remember(weights: Weights) -> None:
        key = _key(plan)
        # Weights that were only now downloaded are remembered as well.
        if key is not None and before in (None, key):
            with suppress(OSError):  # it is only slower without
                write_atomically(_file(key), json.dumps(asdict(weights)) + "\n")

    yield remember


def _key(plan: Plan, fresh: bool = False) -> str | None:
    found, file = plan.backbone, _weights_file(plan)
    if found is None or file is None or not file.is_file():
        return None
    card = found.card
    code = sorted(str(path) for path in Path(backbones.__path__[0]).rglob("*.py"))
    code += FAMILIES.module_files(card.source)
    beside = family_of(card.source).beside(found)
    try:
        return content_hash(
            {
                "weights": list(content_hashes([str(file)], fresh).values()),
                "called": [plan.options.backbone, str(plan.options.weights), plan.options.layers],
                "card": card.model_dump(mode="json"),
                "beside": list(content_hashes(beside, fresh).values()),
                "input_size": plan.input_size,
                "code": list(content_hashes(code).values()),
                "versions": versions(),
            }
        )
    except DensebenchError:
        return None


def _weights_file(plan: Plan) -> Path | None:
    """The file, if there is one and it is here; never uses the network."""
    found, options = plan.backbone, plan.options
    if (
        found is None
        or options.random_weights is not None
        or not family_of(found.card.source).is_known
    ):
        return None
    if options.weights is not None or found.card.weights is None:
        return options.weights
    from densebench.backbones.weights import hub

    return hub.cached(found.card, found.folder)


def _file(key: str) -> Path:
    return cache_home() / "fingerprints" / f"{key[:32]}.json"
