"""What protocols fit, on a GPU: repeatable, and equal to a processor's to rounding."""

import numpy as np
import torch

from densebench.host.always import always_alike
from densebench.learners.clustering import StreamedPCA, cluster, kmeans_device
from densebench.learners.heads import HeadTraining, Optimisation, seeded_head
from densebench.learners.memory_bank import patch_class_counts
from densebench.learners.upsampled_loss import repeatable_loss

from .conftest import shows

CPU = torch.device("cpu")


def trained(device, steps=4):
    random = torch.Generator().manual_seed(0)
    how = Optimisation("sgd", 0.1, 0.9, 1e-4, drop_at=3)
    training = HeadTraining(seeded_head(32, 7, "linear", 0).to(device), how, 255)
    losses = []
    for _ in range(steps):
        patches = torch.randn(6, 16, 16, 32, generator=random).to(device)
        masks = torch.randint(0, 7, (6, 64, 64), generator=random, dtype=torch.uint8)
        losses.append(training.step(patches, masks, 50))
    return losses, training.head.classify.weight.detach().cpu()


@shows("a head trains twice to the last bit alike, and as on a processor to rounding")
def test_a_head_repeats(gpu):
    with always_alike(0):
        first, again = trained(gpu), trained(gpu)
    assert first[0] == again[0]
    assert torch.equal(first[1], again[1])
    on_cpu = trained(CPU)
    np.testing.assert_allclose(first[0], on_cpu[0], atol=1e-5)
    torch.testing.assert_close(first[1], on_cpu[1], atol=1e-5, rtol=0)


@shows("the gradient of the loss repeats and is the processor's to rounding")
def test_gradients(gpu):
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 21, 16, 16, generator=random)
    truth = torch.randint(0, 21, (4, 100, 100), generator=random)

    def gradient(device):
        values = logits.to(device).requires_grad_()
        repeatable_loss(values, truth.to(device), 255).backward()
        return values.grad.cpu()

    with always_alike(0):
        assert torch.equal(gradient(gpu), gradient(gpu))
    torch.testing.assert_close(gradient(gpu), gradient(CPU), atol=1e-7, rtol=1e-4)


@shows("counts of classes are the processor's")
def test_counts(gpu):
    masks = torch.randint(0, 6, (3, 64, 64), dtype=torch.uint8)
    masks[masks == 5] = 255
    with always_alike(0):
        here = patch_class_counts(masks.to(gpu), 16, 5)
    assert torch.equal(here.cpu(), patch_class_counts(masks, 16, 5))


@shows("PCA's moments in float64 give the processor's axes")
def test_moments(gpu):
    rows = np.random.default_rng(0).normal(size=(5000, 48)).astype(np.float32)
    rows[:, :8] *= np.arange(9, 1, -1)
    found = []
    for device in (gpu, CPU):
        reduction = StreamedPCA(48, 6, 0, device)
        reduction.fit(np.array_split(rows, 7), len(rows))
        found.append(reduction.transform(rows))
    signs = np.sign((found[0] * found[1]).sum(axis=0))
    np.testing.assert_allclose(found[0] * signs, found[1], atol=1e-3)


@shows("k-means takes the given GPU alone, and repeats")
def test_k_means(gpu):
    place = kmeans_device("gpu", gpu) if gpu.type == "cuda" else CPU
    random = np.random.default_rng(0)
    centres = 20 * random.normal(size=(6, 16))
    truth = random.integers(0, 6, 3000)
    rows = (centres[truth] + random.normal(size=(3000, 16))).astype(np.float32)
    how = {"seed": 3, "niter": 20, "nredo": 3, "points_per_centroid": 256}
    first, again = (cluster(rows, 6, device=place, **how) for _ in range(2))
    assert np.array_equal(first, again)
    on_cpu = cluster(rows, 6, **how)
    assert len(set(zip(first.tolist(), on_cpu.tolist(), strict=True))) == 6
