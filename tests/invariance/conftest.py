"""What the walk needs: small tasks of every protocol, and runs that can be compared whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from densebench.records.schema import RunRecord
from densebench.records.store import load_evidence
from densebench.run.execute import evaluate
from densebench.run.options import RunOptions

PARAMS = {
    "linear": "mask_size = 20\nbatch_size = 4\nepochs = 2\ndrop_at = 1\nlr = 0.1\n"
    "drop_last = false\n",
    "in_context": "n_neighbours = 4\nmemory_size = 60\naugmentation_epochs = 2\n",
    "overclustering": "mask_size = 20\nK = 4\npca_dim = 3\nseeds = 2\nbatch_size = 3\n"
    "drop_last_val = true\n",
    "knn": "ks = [1, 3]\n",
    "logreg": "C = [0.01, 1.0]\n",
    "attention_jaccard": 'background = ["red"]\nbatch_size = 3\n',
    "cbfe": 'background = ["red"]\nmask_size = 20\nK = 4\npca_dim = 3\nobject_seeds = 2\n'
    "communities = false\n",
    "sliding_linear": "image_size = 63\nstride = 42\nsteps = 6\nwarmup = 2\nbatch_size = 3\n"
    "lr = 0.1\nvalidations = 2\n",
}
DEPTH_PARAMS = {
    "depth_linear": "crop = 42\ntrain_box = 'full'\neval_box = 'full'\nsteps = 5\n"
    "warmup_steps = 2\nbatch_size = 4\nlr = 0.1\n",
    "depth_in_context": "n_neighbours = 4\nmemory_size = 60\naugmentation_epochs = 2\n"
    "augment = true\n",
}
VARIANTS = {
    "linear": ("reference", "clean", "cached"),
    "in_context": ("reference", "clean"),
    "overclustering": ("reference", "clean"),
    "knn": ("reference", "clean"),
    "depth_linear": ("reference", "clean"),
    "depth_in_context": ("reference", "clean"),
    "logreg": ("reference", "clean"),
    "attention_jaccard": ("reference", "clean"),
    "cbfe": ("reference", "clean"),
    "sliding_linear": ("reference", "clean"),
}
ATTENDS = "attends.py:build"  # HOG that offers an attention, which it has not itself
ATTENDING = {"attention_jaccard": ATTENDS, "cbfe": ATTENDS}
PLUGIN = """
import torch
from densebench.backbones import load_backbone

class Attends(torch.nn.Module):
    patch_size = 14

    def __init__(self):
        super().__init__()
        self.hog = load_backbone("hog_s14")
        self.embed_dim = self.hog.embed_dim

    def forward(self, images):
        return self.hog(images)

    def attention(self, images):
        return torch.nn.functional.avg_pool2d(images, 14)[:, :2].exp()

def build():
    return Attends()
"""
CASES = [(protocol, variant) for protocol, variants in VARIANTS.items() for variant in variants]


@pytest.fixture(scope="session")
def tasks(
    tmp_path_factory: pytest.TempPathFactory,
    write_dataset: Callable[..., Path],
    write_depth: Callable[..., Path],
) -> Path:
    """The folder of eleven training and seven validation pictures with a card a protocol."""
    folder = write_dataset(tmp_path_factory.mktemp("walk") / "data", 11, 7).parent
    head = (folder / "linear.toml").read_text().split("[params]")[0]
    for protocol, params in PARAMS.items():
        text = head.replace('"linear"', f'"{protocol}"').replace("tiny_linear", f"walk_{protocol}")
        (folder / f"{protocol}.toml").write_text(f"{text}[params]\ninput_size = 56\n{params}")
    for protocol, params in DEPTH_PARAMS.items():
        write_depth(folder, protocol, f"input_size = 56\n{params}")
    (folder / "attends.py").write_text(PLUGIN)
    return folder


@pytest.fixture
def run(tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A run with a feature cache and a folder of results of its own, and all that came of it."""

    def evaluated(
        protocol: str,
        variant: str,
        place: str,
        *,
        results: str | None = None,
        task: Path | None = None,
        backbone: str | None = None,
        own_cache: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        if own_cache:
            monkeypatch.setenv("DENSEBENCH_CACHE", str(tmp_path / place / "cache"))
        record, path = evaluate(
            RunOptions(
                backbone or hog(tasks, protocol),
                str(task or tasks / f"{protocol}.toml"),
                variant=variant,
                results=tmp_path / (results or place) / "results",
                **{"workers": 0, **options},
            )
        )
        return facts(record, path)

    return evaluated


def hog(tasks: Path, protocol: str) -> str:
    """HOG, with an attention where the protocol looks at one."""
    return str(tasks / ATTENDING[protocol]) if protocol in ATTENDING else "hog_s14"


def facts(record: RunRecord, path: Path) -> dict[str, Any]:
    """All that came of a run, but for what says where and when it was."""
    counts = load_evidence(path, record)
    assert counts is not None
    kept = sorted(path.parent.glob(f"{path.stem}.*.safetensors"))
    return {
        "run_id": record.run_id,
        "scores": [{"miou": score.value, **score.model_dump()} for score in record.scores],
        # How many queries half precision settled is of the engine alone.
        "details": {k: v for k, v in record.protocol.details.items() if k != "search"},
        "protocol": record.protocol.hash,
        "dataset": record.dataset.fingerprint,
        "counts": (counts.names, counts.vectors.tolist()),
        "kept": [file.read_bytes() for file in kept],
    }
