"""The open set of runtimes: what executes a model."""
