"""The page's own code: template, style and scripts, and one file a view."""
