"""The tables of papers, run again and set beside the published numbers."""
