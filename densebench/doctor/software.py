"""Python, the packages that a run imports, and what of them sees a GPU."""

import importlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from densebench.doctor.findings import Finding, reason, size_text

OLDEST_PYTHON = (3, 10)
DRIVER_SECONDS = 20
# The distribution of each module that a run imports; what stands after torch needs it.
MODULES = {
    "numpy": ("numpy",),
    "scipy": ("scipy",),
    "sklearn": ("scikit-learn",),
    "PIL": ("pillow",),
    "faiss": ("faiss-gpu", "faiss-cpu"),
    "huggingface_hub": ("huggingface_hub",),
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "open_clip": ("open_clip_torch",),
}
NEED_TORCH = ("torchvision", "timm", "open_clip")


def python() -> Iterator[Finding]:
    """The interpreter and its version."""
    version = f"{platform.python_version()} ({sys.executable})"
    old = sys.version_info < OLDEST_PYTHON
    remedy = "install Python 3.10 or later" if old else ""
    yield Finding("python", "python", "broken" if old else "ok", version, remedy)


def packages() -> Iterator[Finding]:
    """Whether each package can be imported."""
    broken_torch = False
    for module, distributions in MODULES.items():
        if broken_torch and module in NEED_TORCH:
            yield Finding("packages", module, "note", "not examined: it needs torch")
            continue
        finding = _package(module, distributions)
        broken_torch = broken_torch or (module == "torch" and finding.state == "broken")
        yield finding


def _package(module: str, distributions: tuple[str, ...]) -> Finding:
    installed = [(name, _version(name)) for name in distributions]
    there = [f"{name} {version}" for name, version in installed if version is not None]
    pip = f"{sys.executable} -m pip install"
    problem = import_problem(module)
    if problem is None:
        return Finding("packages", module, "ok", ", ".join(there) or "of unknown version")
    if not there:
        return Finding("packages", module, "broken", problem, f"{pip} {distributions[-1]}")
    name = there[0].partition(" ")[0]
    remedy = f"{pip} --force-reinstall --no-deps {name}"
    return Finding("packages", module, "broken", f"{there[0]}: {problem}", remedy)


def import_problem(module: str) -> str | None:
    """Why a module cannot be imported; None if it can."""
    try:
        importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a package may even leave the interpreter on import
        return f"cannot be imported ({reason(error)})"
    return None


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def gpu() -> Iterator[Finding]:
    """The GPUs that torch and faiss see, or why they see none."""
    driver = _driver()
    if import_problem("torch") is not None:
        yield Finding("gpu", "cuda", "note", "not known without torch")
        return
    import torch

    built = torch.version.cuda
    if torch.cuda.is_available():
        yield Finding("gpu", "cuda", "ok", f"CUDA {built}, driver {driver or 'unknown'}")
        for index in range(torch.cuda.device_count()):
            yield _device(torch, index)
    elif driver is None:
        yield Finding("gpu", "cuda", "note", "no GPU here; runs use the CPU")
    elif built is None:
        remedy = f"{sys.executable} -m pip install torch, from the index for your CUDA"
        yield Finding(
            "gpu", "cuda", "note", f"driver {driver}, but this torch is for the CPU", remedy
        )
    else:
        text = f"driver {driver}, but torch for CUDA {built} sees no GPU"
        yield Finding("gpu", "cuda", "note", text, "nvidia-smi")
    yield from _faiss_gpu(torch.cuda.is_available())


def _device(torch: Any, index: int) -> Finding:
    free, total = torch.cuda.mem_get_info(index)
    text = f"{torch.cuda.get_device_name(index)}, {size_text(free)} of {size_text(total)} free"
    return Finding("gpu", f"cuda:{index}", "ok", text)


def _faiss_gpu(has_gpu: bool) -> Iterator[Finding]:
    if import_problem("faiss") is not None:
        return
    import faiss

    usable = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0
    if usable:
        yield Finding("gpu", "faiss", "ok", "searches on the GPU")
    elif has_gpu:
        remedy = f"{sys.executable} -m pip install faiss-gpu"
        yield Finding("gpu", "faiss", "note", "searches on the CPU, though there is a GPU", remedy)
    else:
        yield Finding("gpu", "faiss", "ok", "searches on the CPU")


def _driver() -> str | None:
    """The version of NVIDIA's driver, if there is one."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            query, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split()
    return lines[0] if done.returncode == 0 and lines else None
