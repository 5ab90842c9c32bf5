"""farthing finds the cheapest way to run the model you have, and proves that nothing was lost on the way."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from farthing.api import adapt as adapt
    from farthing.api import optimize as optimize
    from farthing.artifact import gate as gate
    from farthing.artifact import load as load
    from farthing.artifact import predict as predict
    from farthing.artifact import verify as verify
    from farthing.spec import read as read
    from farthing.updating import update as update

_HOMES = {
    "adapt": "farthing.api",
    "optimize": "farthing.api",
    "gate": "farthing.artifact",
    "load": "farthing.artifact",
    "predict": "farthing.artifact",
    "verify": "farthing.artifact",
    "read": "farthing.spec",
    "update": "farthing.updating",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Imported when first asked for: `import farthing` and `farthing --help` stay light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'farthing' has no attribute {name!r}")
