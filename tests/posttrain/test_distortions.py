"""What is done to a view by Pillow: in which order, by which of its operations."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from densebench.posttrain.distortions import Adjustment, Distortion, distorted


def photograph() -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((40, 30), Image.Resampling.BICUBIC)


def test_nothing_is_done_unasked() -> None:
    assert np.array_equal(distorted(photograph(), Distortion()), photograph())


def test_each_operation_is_pillow_s() -> None:
    image = photograph()
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for kind, enhancer in zip(Adjustment, enhancers, strict=False):
        done = distorted(image, Distortion(((kind, 1.4),)))
        assert np.array_equal(done, enhancer(image).enhance(1.4))
    turned = distorted(image, Distortion(((Adjustment.HUE, 1 / 3),)))
    hues = [np.array(some.convert("HSV"))[..., 0].astype(int) for some in (image, turned)]
    assert np.median((hues[1] - hues[0]) % 256) == 85
    assert np.array_equal(
        distorted(image, Distortion(sigma=1.5)), image.filter(ImageFilter.GaussianBlur(1.5))
    )


def test_in_the_order_of_the_draw_grey_and_blur_last() -> None:
    image = photograph()
    jitter = ((Adjustment.CONTRAST, 1.7), (Adjustment.BRIGHTNESS, 0.5))
    done = distorted(image, Distortion(jitter, grey=True, sigma=0.8))
    expected = ImageEnhance.Brightness(ImageEnhance.Contrast(image).enhance(1.7)).enhance(0.5)
    expected = expected.convert("L").convert("RGB").filter(ImageFilter.GaussianBlur(0.8))
    assert np.array_equal(done, expected)
    assert not np.array_equal(distorted(image, Distortion(jitter[::-1], True, 0.8)), expected)
