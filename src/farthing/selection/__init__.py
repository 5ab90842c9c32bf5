"""propose() what to try, choose() what to run."""

from farthing.selection.choose import choose as choose
from farthing.selection.search import propose as propose
