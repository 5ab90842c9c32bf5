"""A job file, or a call with live objects, becomes a checked Job."""

from farthing.spec.job import read
from farthing.spec.live import read_live

__all__ = ["read", "read_live"]
