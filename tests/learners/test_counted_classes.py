"""A head has an output for each class that counts, and for no other."""

import torch

from densebench.learners.counted_classes import NEVER, CountedClasses
from densebench.learners.pixel_loss import VOID


def test_a_void_label_beside_the_classes_changes_none():
    classes = CountedClasses(3, 255)
    labels = torch.tensor([[[0, 2, 255, 7]]], dtype=torch.uint8)
    assert classes.kept == [0, 1, 2]
    assert classes.outputs(labels).tolist() == [[[0, 2, VOID, VOID]]]
    scores = torch.randn(3, 2, 2)
    assert torch.equal(classes.scores(scores), scores)


def test_a_class_that_does_not_count_has_no_output_and_never_wins():
    classes = CountedClasses(4, 0)
    assert classes.kept == [1, 2, 3]
    assert classes.outputs(torch.tensor([[[0, 1, 3, 255]]])).tolist() == [[[VOID, 0, 2, VOID]]]
    scores = classes.scores(torch.full((3, 1, 1), -50.0))
    assert scores[:, 0, 0].tolist() == [NEVER, -50.0, -50.0, -50.0]
