"""What a GPU does in the time that its data sheet allows: search, heads, clusters, features, NeCo.

Each measurement has a physical limit, the longer of its arithmetic at the card's peak and its
traffic at the card's bandwidth; benchmarks/results/gpu_*.md says how near each comes to it. Each
has minutes that it may take on an H100, together less than 25; none was measured without a GPU.

python -m benchmarks.gpu [--dry-run] [--only NAME ...] [--tiny] [--out FOLDER]

--dry-run lists the measurements with their limits and formulas; it needs no GPU. --tiny makes
everything small, so that a processor does it in a moment: its times mean nothing.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import faiss
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.backbones.timm_vit import TimmBackbone
from densebench.cards import BackboneCard
from densebench.features.precision import Precision
from densebench.features.source import PatchSource
from densebench.host.memory import gigabytes
from densebench.learners import proven_search
from densebench.learners.clustering import cluster
from densebench.learners.heads import HeadTraining, Optimisation, seeded_head
from densebench.learners.moments import Moments
from densebench.learners.neighbours import FaissSearch
from densebench.learners.proven_search import QUERY_ROWS, ProvenSearch
from densebench.posttrain.journal import read_journal
from densebench.posttrain.photographs import find_photographs
from densebench.posttrain.recipe import load_recipe
from densebench.posttrain.softsort import soft_sort_cross_entropy
from densebench.posttrain.softsort.network import comparators
from densebench.posttrain.trainer import Place, Trainer

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
TESTS, TEST_MINUTES = ("pytest", "-n", "0", "--dist", "no", "-rs", "tests/gpu"), 5
Unit = Literal["half", "single", "double"]
Contenders = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Peak:
    """A card's data sheet, without sparsity: operations a second by precision, bytes a second."""

    name: str
    half: float
    single: float
    double: float
    bandwidth: float


PEAKS = (
    Peak("H200", 989e12, 67e12, 67e12, 4.8e12),
    Peak("H100", 989e12, 67e12, 67e12, 3.35e12),
    Peak("A100", 312e12, 19.5e12, 19.5e12, 2.0e12),
)
ASSUMED = PEAKS[1]


@dataclass(frozen=True)
class Measurement:
    """One thing that is measured.

    Attributes:
        name: its file is results/gpu_NAME.md.
        what: is done, with its sizes.
        formula: of its operations and bytes.
        operations: by the precision that they are done in.
        traffic: bytes that must be read or written.
        minutes: that it takes at most.
        contenders: makes what is timed, on a device; the first is densebench's.
        told: of what came of it, beside its time.
    """

    name: str
    what: str
    formula: str
    operations: dict[Unit, float]
    traffic: float
    minutes: float
    contenders: Callable[[torch.device], Contenders]
    told: list[str] = field(default_factory=list)

    def limit(self, peak: Peak) -> float:
        """Seconds that no program on this card can do it in less than."""
        compute = sum(count / getattr(peak, unit) for unit, count in self.operations.items())
        return max(compute, self.traffic / peak.bandwidth)


def crowd(rows: int, width: int, device: torch.device, seed: int) -> Float[Tensor, "n d"]:
    """Normalised rows about centres, as patches lie, made block by block."""
    draws = torch.Generator(device).manual_seed(seed)
    centres = torch.randn(4_096, width, generator=torch.Generator().manual_seed(0)).to(device)
    bank = torch.empty(rows, width, device=device)
    for block in bank.split(1 << 18):
        which = torch.randint(0, len(centres), (len(block),), generator=draws, device=device)
        noise = torch.randn(block.shape, generator=draws, device=device)
        block.copy_(normalize(centres[which] + 0.8 * noise, dim=1))
    return bank


def search(rows: int, queries: int, width: int, host: bool) -> Measurement:
    k, told = 30, list[str]()

    def contenders(device: torch.device) -> Contenders:
        bank, wanted = crowd(rows, width, device, 1), crowd(queries, width, device, 2)
        if host:
            bank = bank.cpu()
            proven_search.GPU_SHARE = 0.0  # as if nothing more fitted
        ours = ProvenSearch(bank, device)

        def proven() -> None:
            ours.searched = ours.searched_again = 0
            ours.search(wanted, k)
            told[:] = [f"searched again in full precision: {ours.searched_again} of {queries}"]

        found: Contenders = {"densebench": proven}
        if not host:
            found["faiss"] = lambda: faiss_search(wanted, bank, k)
        return found

    where = ", full precision on the host" if host else ""
    return Measurement(
        "search_host" if host else "search",
        f"{k} nearest of {rows:,} rows of width {width} for {queries:,} queries{where}",
        f"2 q n d in half precision; 2 n d bytes for each {QUERY_ROWS:,} queries",
        {"half": 2.0 * queries * rows * width},
        -(-queries // QUERY_ROWS) * 2.0 * rows * width,
        3.0 if host else 4.0,
        contenders,
        told,
    )


def faiss_search(queries: Tensor, bank: Tensor, k: int) -> object:
    """Exact by faiss, on the device that the rows are on."""
    if bank.device.type == "cpu":
        return FaissSearch(bank).search(queries, k)
    import faiss.contrib.torch_utils  # knn_gpu takes tensors from here on

    resources = faiss.StandardGpuResources()
    return faiss.knn_gpu(resources, queries, bank, k, metric=faiss.METRIC_INNER_PRODUCT)


def head(batch: int, grid: int, width: int, classes: int) -> Measurement:
    def contenders(device: torch.device) -> Contenders:
        how = Optimisation("sgd", 0.01, 0.9, 1e-4, drop_at=20)
        training = HeadTraining(seeded_head(width, classes, "linear", 0).to(device), how, 255)
        patches = torch.randn(batch, grid, grid, width, device=device)
        masks = torch.randint(0, classes, (batch, 448, 448), dtype=torch.uint8)
        return {"densebench": lambda: training.step(patches, masks, 100)}

    values = batch * grid**2 * width
    return Measurement(
        "head",
        f"a step of a linear head: {batch} images of {grid}x{grid} patches of width {width}",
        "4 b p d c operations in single precision; 2 reads of 4 b p d bytes",
        {"single": 4.0 * values * classes},
        8.0 * values,
        1.0,
        contenders,
    )


def k_means(rows: int, width: int, clusters: int, niter: int, nredo: int) -> Measurement:
    sample = min(rows, 256 * clusters)

    def contenders(device: torch.device) -> Contenders:
        data = crowd(rows, width, device, 3).cpu().numpy()
        how: dict[str, Any] = {"niter": niter, "nredo": nredo, "points_per_centroid": 256}
        return {"densebench": lambda: cluster(data, clusters, seed=0, device=device, **how)}

    return Measurement(
        "k_means",
        f"{clusters} clusters of {rows:,} rows of width {width}, {nredo} x {niter} iterations",
        "2 K d operations in single precision for each of 256 K rows, iteration and try, and row",
        {"single": 2.0 * clusters * width * (sample * niter * nredo + rows)},
        4.0 * rows * width,
        1.0,
        contenders,
    )


def moments(rows: int, width: int) -> Measurement:
    def contenders(device: torch.device) -> Contenders:
        data = crowd(rows, width, device, 4)

        def summed() -> object:
            found = Moments(width, device)
            for part in data.split(1 << 16):
                found.add(part)
            return found.covariance

        return {"densebench": summed}

    return Measurement(
        "moments",
        f"mean and covariance of {rows:,} rows of width {width}",
        "2 n d^2 operations in double precision; 4 n d bytes",
        {"double": 2.0 * rows * width**2},
        4.0 * rows * width,
        1.0,
        contenders,
    )


def vit_operations(size: int, width: int, depth: int) -> float:
    """Of one image of a ViT with patches of 14 pixels; a multiply-add counts as two."""
    tokens = (size // 14) ** 2 + 1
    return float(depth * (24 * tokens * width**2 + 4 * tokens**2 * width))


def vit(width: int, depth: int, size: int) -> TimmBackbone:
    from timm.models.vision_transformer import VisionTransformer

    known: dict[str, Any] = {
        "num_classes": 0,
        "dynamic_img_size": True,
        "num_heads": max(1, width // 64),
    }
    shape: dict[str, Any] = {"img_size": size, "patch_size": 14, "embed_dim": width, "depth": depth}
    card = BackboneCard(
        name="random_vit",
        source="timm",
        id="random_vit",
        patch_size=14,
        embed_dim=width,
        prefix_tokens=1,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        position_embedding="timm",
        license="none",
        training_data="none",
    )
    return TimmBackbone(VisionTransformer(**shape, **known).eval(), card)


def features(width: int, depth: int, size: int, batch: int, precision: Precision) -> Measurement:
    unit: Unit = "single" if precision == "fp32" else "half"

    def contenders(device: torch.device) -> Contenders:
        model: Any = vit(width, depth, size).to(device)
        nowhere: Any = None
        source = PatchSource(nowhere, model, device, batch_size=batch, precision=precision)
        images = torch.randn(batch, 3, size, size, device=device)
        return {"densebench": lambda: source.forward(images)}

    return Measurement(
        f"features_{precision}",
        f"features of {batch} images of {size} pixels, {depth} blocks of width {width}",
        f"L (24 T d^2 + 4 T^2 d) operations an image in {unit} precision",
        {unit: batch * vit_operations(size, width, depth)},
        0.0,
        1.0,
        contenders,
    )


def soft_sort(rows: int, n: int) -> Measurement:
    def contenders(device: torch.device) -> Contenders:
        student, teacher = 0.2 * torch.randn(2, rows, n, device=device)
        student.requires_grad_()

        def step() -> None:
            soft_sort_cross_entropy(student, teacher, 100.0).mean().backward()

        return {"densebench": step}

    pairs = sum(map(len, comparators("bitonic", n)))
    return Measurement(
        "soft_sort",
        f"NeCo's loss and its gradient: {rows:,} rows of {n}, bitonic",
        "12 r C n operations in single precision for teacher, student and gradient, C comparators",
        {"single": 12.0 * rows * pairs * n},
        4.0 * 4 * rows * n,
        1.0,
        contenders,
    )


def neco(width: int, depth: int, batch: int, steps: int, **changes: Any) -> Measurement:
    recipe = load_recipe(
        "neco_dinov2", {"training.steps": steps, "training.batch_size": batch, **changes}
    )
    views = recipe.views
    sizes = [views.global_size] * 2 + [views.local_size] * views.local_crops
    forward = [vit_operations(size, width, depth) for size in sizes]
    told = list[str]()

    def contenders(device: torch.device) -> Contenders:
        workers = 0 if device.type == "cpu" else 16

        def trained() -> None:
            with tempfile.TemporaryDirectory() as folder:
                place = Place(Path(folder), device, workers=workers)
                images = find_photographs([photographs(Path(folder) / "images", 2 * batch)])
                backbone: Any = vit(width, depth, views.global_size).to(device)
                Trainer(backbone, recipe, images, place, backbone.fingerprint).run()
                lines = read_journal(place.folder / "log.jsonl")
            seconds = [line["seconds"] for line in lines if "loss" in line][steps // 3 :]
            told[:] = [f"a step takes {statistics.median(seconds):.3f} s (median after the first)"]

        return {"densebench": trained}

    return Measurement(
        "neco",
        f"{steps} steps of NeCo, its images read: {batch} images, {depth} blocks of width {width}",
        "3 forward passes of all views for the student, 1 of the global ones for the teacher",
        {"single": steps * batch * (3 * sum(forward) + sum(forward[:2]))},
        0.0,
        6.0,
        contenders,
        told,
    )


def photographs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:04d}.jpg", quality=95)
    return folder


def measurements(tiny: bool) -> list[Measurement]:
    if tiny:
        small = {"views.global_size": 56, "views.local_size": 28, "loss.queue_size": 60}
        return [
            search(2_000, 64, 32, host=False),
            search(2_000, 64, 32, host=True),
            head(2, 4, 16, 5),
            k_means(500, 8, 4, 3, 2),
            moments(500, 16),
            features(64, 2, 56, 2, "fp32"),
            features(64, 2, 56, 2, "bf16"),
            soft_sort(20, 9),
            neco(64, 2, 2, 3, **small),
        ]
    return [
        search(10_240_000, 16_384, 768, host=False),
        search(10_240_000, 16_384, 768, host=True),
        head(128, 32, 768, 21),
        k_means(5_120_000, 50, 500, 100, 5),
        moments(1_048_576, 768),
        features(768, 12, 518, 32, "fp32"),
        features(768, 12, 518, 32, "bf16"),
        soft_sort(11_760, 49),
        neco(384, 12, 64, 15),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="list, with limits and formulas")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on a processor as well")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    known = measurements(options.tiny)
    wanted = [one for one in known if not options.only or one.name in options.only]
    tests = not options.tiny and (not options.only or "tests" in options.only)
    if unknown := set(options.only) - {one.name for one in known} - {"tests"}:
        sys.exit(f"no measurement {', '.join(sorted(unknown))}; --dry-run lists them")
    if options.dry_run:
        print("\n".join(listed(wanted, tests, peak_here())))
    elif not torch.cuda.is_available() and not options.tiny:
        sys.exit("there is no GPU here; --dry-run lists what one would be asked for")
    else:
        for one in wanted:
            report(one, options.out)
        if tests:
            report_tests(options.out)


def peak_here() -> Peak | None:
    """The data sheet of the GPU here, where it is known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for peak in PEAKS if peak.name in name), None)


def listed(wanted: list[Measurement], tests: bool, here: Peak | None) -> Iterator[str]:
    peak = here or ASSUMED
    told = "this GPU" if here else "which is assumed: no GPU of a known kind is here"
    yield f"limits of an {peak.name}, {told}:"
    yield (
        f"  {peak.half / 1e12:.0f}, {peak.single / 1e12:.0f} and {peak.double / 1e12:.0f} Tflop/s "
        f"in half, single and double precision, {peak.bandwidth / 1e12:.2f} TB/s; no sparsity"
    )
    for one in wanted:
        yield f"{one.name}: {one.what}"
        counts = [f"{count:.3g} in {unit} precision" for unit, count in one.operations.items()]
        yield f"  formula: {one.formula}"
        yield f"  {', '.join(counts)}; {gigabytes(int(one.traffic))}"
        yield f"  limit: {one.limit(peak):.3g} s; takes at most {one.minutes:.0f} min"
    if tests:
        yield f"tests: {' '.join(TESTS)}"
        yield f"  no limit but its own; takes at most {TEST_MINUTES} min"
    minutes = sum(one.minutes for one in wanted) + (TEST_MINUTES if tests else 0)
    yield f"together at most {minutes:.0f} min"


def least(work: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):  # the first call builds and loads
        start = perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    return min(seconds[1:])


def report(one: Measurement, out: Path) -> None:
    """Measure, print and write results/gpu_NAME.md."""
    cuda = torch.cuda.is_available()
    device, peak = torch.device("cuda", 0) if cuda else torch.device("cpu"), peak_here()
    share = proven_search.GPU_SHARE
    lines = [
        f"# {one.what}",
        "",
        f"`python -m benchmarks.gpu --only {one.name}` on {machine()}.",
        "",
    ]
    lines += [
        f"Limit: {one.formula}: {one.limit(peak or ASSUMED):.4g} s on an {(peak or ASSUMED).name}."
    ]
    lines += ["", "| | seconds | limit / seconds | peak memory |", "| --- | --- | --- | --- |"]
    for name, work in one.contenders(device).items():
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        try:
            seconds = least(work, REPEATS)
        except (AttributeError, RuntimeError) as error:  # a faiss without GPUs, or no memory
            lines.append(f"| {name} | {str(error).splitlines()[0]:.80} | | |")
            continue
        memory = gigabytes(torch.cuda.max_memory_allocated()) if cuda else "not told"
        reached = f"{one.limit(peak) / seconds:.0%}" if peak else "not known"
        lines.append(f"| {name} | {seconds:.4g} | {reached} | {memory} |")
    proven_search.GPU_SHARE = share
    lines += ["", *one.told] if one.told else []
    write(out, one.name, lines)


def report_tests(out: Path) -> None:
    """What the tests of tests/gpu say, in results/gpu_tests.md."""
    command = [sys.executable, "-m", *TESTS]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    lines = ["# tests/gpu", "", f"`{' '.join(TESTS)}` on {machine()}.", "", "```"]
    write(out, "tests", [*lines, *done.stdout.splitlines()[-40:], "```"])


def write(out: Path, name: str, lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"gpu_{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def machine() -> str:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{name}; torch {torch.__version__}, faiss {faiss.__version__}"


if __name__ == "__main__":
    main()
