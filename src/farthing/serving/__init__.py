"""serve(): run what was chosen, at the price that was promised."""

from farthing.serving.options import Options
from farthing.serving.recall import Caching
from farthing.serving.serve import serve

__all__ = ["Caching", "Options", "serve"]
