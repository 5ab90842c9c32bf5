"""serve(): run what was chosen, at the price that was promised."""

from farthing.serving.serve import Options, serve

__all__ = ["Options", "serve"]
