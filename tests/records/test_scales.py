"""Values as colours, and back."""

import numpy as np
import pytest

from densebench.records.scales import STEPS, VOID_GREY, Scale, bar, ramp, scale_of


def test_places_and_values_are_each_other_s_inverse():
    scale = Scale(low=1.0, high=9.0, unit="m")
    values = np.linspace(1, 9, 60).reshape(6, 10)
    valid = values > 2
    found = scale.values(scale.places(values, valid))
    assert np.isnan(found[~valid]).all()
    assert np.abs(found - values)[valid].max() <= 8 / (STEPS - 1) / 2 + 1e-9


def test_beyond_the_ends_are_the_ends():
    places = Scale(low=1.0, high=2.0, unit="m").places(
        np.array([[0.0, 5.0]]), np.array([[True, True]])
    )
    assert places.tolist() == [[1, STEPS]]


def test_it_goes_from_the_nearest_to_the_farthest():
    scale = scale_of([np.array([2.0, 3.0]), np.array([]), np.array([1.5])], "m")
    assert (scale.low, scale.high) == (1.5, 3.0)
    assert scale_of([np.array([2.0])], "m").high == 3.0
    assert (scale_of([], "m").low, scale_of([], "m").high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="low must be below high"):
        Scale(low=1.0, high=1.0, unit="m")


def test_the_colours_grow_darker_with_the_distance():
    colours = np.array(ramp())
    assert colours.shape == (256, 3)
    assert tuple(colours[0]) == VOID_GREY
    light = colours[1:] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light) < 0.5).all() and light[0] - light[-1] > 150


def test_the_bar_shows_both_ends():
    picture = np.asarray(bar(Scale(low=1.0, high=9.0, unit="m"), 120))
    assert picture.shape[1] == 120
    assert np.abs(picture[0, 0].astype(int) - ramp()[1]).max() <= 1
    assert np.abs(picture[0, -1].astype(int) - ramp()[-1]).max() <= 1
    assert (picture[14:, :40] < 128).any() and (picture[14:, -40:] < 128).any()  # text
