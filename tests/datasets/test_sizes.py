"""Sizes, and the published ones of padded images."""

from densebench.datasets.sizes import as_size, padded_size, padding_offset, side_of


def test_sizes_and_places_are_the_published_ones(golden):
    for row in golden("dinov3_depth")["crop/center_padding"].tolist():
        height, width, patch, *wanted = row
        found = padded_size((height, width), patch), padding_offset((height, width), patch)
        assert [*found[0], *found[1]] == wanted[:4]
        assert [*padded_size((height, width), patch)] == wanted[4:]  # STRETCH


def test_a_square_is_told_by_its_side():
    assert as_size(224) == (224, 224)
    assert as_size((480, 640)) == (480, 640)
    assert side_of((224, 224)) == 224
    assert side_of((480, 640)) == (480, 640)
