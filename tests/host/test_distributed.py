"""Processes that work together, on the CPU over the loopback device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from densebench.host.distributed import World

# Every process asserts; one that fails ends with another code than 0.
PROGRAM = """
import torch
from torch import Generator
from densebench.host.distributed import joined
from densebench.posttrain.patch_queue import PatchQueue, random_draw

CPU = torch.device("cpu")
with joined(CPU) as world:
    rank = world.rank
    assert (world.size, world.is_main) == (2, rank == 0)
    assert world.sum(torch.tensor([1.0 + rank])).item() == 3
    tensors = [torch.full((2, 3), float(rank)), torch.tensor(4.0 * rank)]
    world.average(tensors)
    assert tensors[0].tolist() == [[0.5] * 3] * 2 and tensors[1].item() == 2
    assert world.any(rank == 1, CPU) and not world.any(False, CPU)
    assert world.together([f"{rank}a"], CPU) == ["0a", "1a"]
    assert world.together(["late"] if rank else [], CPU) == ["late"]
    assert world.together([], CPU) == []
    world.barrier()

    grids = torch.randn(6, 3, 3, 5, generator=Generator().manual_seed(1))
    masks = torch.rand(6, 3, 3, generator=Generator().manual_seed(2)) < 0.3
    own = slice(3 * rank, 3 * rank + 3)
    for shown in (None, masks):
        ours, whole = (PatchQueue(2, 5, capacity=50) for _ in range(2))
        for step in range(3):
            moved = grids + step
            one = None if shown is None else [shown[own], ~shown[own]]
            every = None if shown is None else [shown, ~shown]
            draws = [random_draw(Generator().manual_seed(step)) for _ in range(2)]
            ours.enter([moved[own], -moved[own]], draws[0], one, world)
            whole.enter([moved, -moved], draws[1], every)
        assert torch.equal(ours.patches, whole.patches)
        assert torch.equal(ours.entered, whole.entered)
        assert ours.filled(0) > 30
"""


def test_two_processes() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    environment = {**os.environ, **known, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        told = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], told


def test_alone() -> None:
    world, cpu = World(), torch.device("cpu")
    assert world.is_main
    tensor = torch.tensor([2.0])
    world.average([tensor])
    assert world.sum(tensor) is tensor
    assert tensor.item() == 2
    assert world.any(True, cpu)
    assert not world.any(False, cpu)
    assert world.together(["x"], cpu) == ["x"]
    world.barrier()
