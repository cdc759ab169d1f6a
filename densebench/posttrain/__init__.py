"""NeCo post-training: views, differentiable sorting, the loss."""
