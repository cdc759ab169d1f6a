"""A scale of colours for values that are no labels, such as a depth, with its bar."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field, model_validator

from densebench.records.schema import Part

Colour = tuple[int, int, int]
VOID_PLACE = 0
STEPS = 255
VOID_GREY: Colour = (224, 224, 224)
# From near to far: warm to cold, and ever darker, so that it reads without colour as well.
ANCHORS: tuple[Colour, ...] = (
    (252, 240, 160),
    (246, 178, 84),
    (222, 104, 76),
    (160, 56, 106),
    (88, 40, 120),
    (24, 24, 72),
)
BAR_HEIGHT, BAR_TEXT, MARGIN = 12, 18, 4


class Scale(Part):
    """Which value has which place in a palette: ``low`` the place 1, ``high`` the last one.

    Place 0 is of what has no value. Values beyond the ends are shown as the ends.
    """

    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    unit: str = Field(max_length=16)

    @model_validator(mode="after")
    def _rises(self) -> "Scale":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self

    def places(
        self, values: Float[np.ndarray, "h w"], valid: Bool[np.ndarray, "h w"]
    ) -> UInt8[np.ndarray, "h w"]:
        """The place of each value in the palette."""
        share = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        places = 1 + np.rint((STEPS - 1) * np.where(valid, share, 0)).astype(np.uint8)
        return np.where(valid, places, VOID_PLACE).astype(np.uint8)

    def values(self, places: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """What places stand for; of 0, nan."""
        share = (places.astype(np.float64) - 1) / (STEPS - 1)
        return np.where(places == VOID_PLACE, np.nan, self.low + share * (self.high - self.low))

    def text(self, value: float) -> str:
        """A value as it is printed."""
        return f"{value:.1f} {self.unit}"


def scale_of(values: Iterable[Float[np.ndarray, " n"]], unit: str) -> Scale:
    """From the smallest to the largest of the values that are valid; 0 to 1 of none."""
    known = [part for part in values if len(part)]
    if not known:
        return Scale(low=0.0, high=1.0, unit=unit)
    low = float(min(part.min() for part in known))
    high = float(max(part.max() for part in known))
    return Scale(low=low, high=high if high > low else low + 1.0, unit=unit)


def ramp() -> list[Colour]:
    """The palette: void, then the colours of the scale."""
    places = np.linspace(0, len(ANCHORS) - 1, STEPS)
    channels = [
        np.interp(places, range(len(ANCHORS)), [anchor[channel] for anchor in ANCHORS])
        for channel in range(3)
    ]
    red, green, blue = (np.rint(channel).astype(int).tolist() for channel in channels)
    return [VOID_GREY, *zip(red, green, blue, strict=True)]


def bar(scale: Scale, width: int) -> Image.Image:
    """The colours from low to high, with both ends named under them."""
    colours = np.array(ramp()[1:], dtype=np.uint8)
    strip = colours[np.linspace(0, STEPS - 1, width).round().astype(int)]
    picture = Image.new("RGB", (width, BAR_HEIGHT + BAR_TEXT), "white")
    picture.paste(Image.fromarray(np.repeat(strip[None], BAR_HEIGHT, axis=0)), (0, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=12)
    draw.text((0, BAR_HEIGHT + MARGIN // 2), scale.text(scale.low), fill="black", font=font)
    far = scale.text(scale.high)
    left = width - int(draw.textlength(far, font=font))
    draw.text((left, BAR_HEIGHT + MARGIN // 2), far, fill="black", font=font)
    return picture
