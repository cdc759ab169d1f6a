"""Views that torch finishes in batches are those that Pillow makes one by one, bit for bit."""

import numpy as np
import torch
from PIL import Image

from densebench.backbones.base import IMAGENET_MEAN, IMAGENET_STD
from densebench.posttrain.finishing import Finishing
from densebench.posttrain.views import MultiCrop, Views, ViewSettings, image_generator

CPU = torch.device("cpu")


def views(engine: str, count: int) -> list[Views]:
    knobs = ViewSettings(global_size=42, local_size=14, engine=engine)  # type: ignore[arg-type]
    make = MultiCrop(knobs, IMAGENET_MEAN, IMAGENET_STD)
    made = []
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC)
        made.append(make(image, image_generator(5, 2, number)))
    return made


def test_equal_to_pillow_s_bit_for_bit() -> None:
    whole, begun = views("pillow", 12), views("torch", 12)
    assert len({d for of_image in begun for d in of_image.distortions}) > 12
    for a, b in zip(whole, begun, strict=True):
        assert torch.equal(a.crops, b.crops)
        assert all(torch.equal(x, y) for x, y in zip(a.boxes, b.boxes, strict=True))
        assert a.distortions == []
        assert {image.dtype for image in b.images} == {torch.uint8}
        assert [tuple(i.shape) for i in b.images] == [(42, 42, 3)] * 2 + [(14, 14, 3)] * 4
    finish = Finishing(IMAGENET_MEAN, IMAGENET_STD, CPU)
    together = [torch.stack([v.images[place] for v in begun]) for place in range(6)]
    done = finish(together, [[v.distortions[place] for v in begun] for place in range(6)])
    for place, images in enumerate(done):
        assert torch.equal(images, torch.stack([v.images[place] for v in whole])), place
