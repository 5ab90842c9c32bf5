"""A recipe becomes a runnable pipeline: `check` plans it, `apply` carries the plan out and looks at the outputs."""

from farthing.transform.apply import apply
from farthing.transform.check import Plan, Step, check

__all__ = ["Plan", "Step", "apply", "check"]
