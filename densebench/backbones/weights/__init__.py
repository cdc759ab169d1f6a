"""Weights files: fetched, recognised, read strictly, and written as their base has them."""
