"""A job file, or a call with live objects, becomes a checked Job."""

from farthing.spec.job import read, read_floors
from farthing.spec.live import read_live
from farthing.spec.rows import check_fit

__all__ = ["check_fit", "read", "read_floors", "read_live"]
