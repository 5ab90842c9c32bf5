"""The data sources, each with a small sample of its own kind that `sample` writes."""
