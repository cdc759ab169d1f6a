"""Patch features: computed batch by batch, kept in the cache, or exported."""
