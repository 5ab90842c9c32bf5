"""Model source: a function of the person's own project that returns a live model."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farthing import plugins
from farthing.errors import ModelError
from farthing.model_sources.base import ModelSource, snapshot_object
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Python(ModelSource):
    """The function returns what `snapshot_object` takes. It is code of the person's own, named in their own job: trusted."""

    factory: str  # "package.module:function"
    args: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the function
    root: Path | None = None  # the folder that is searched first for the module

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        try:
            model = plugins.function(self.factory, self.root)(**self.args)
        except OSError as error:
            raise ModelError(f"{self.factory} could not read its files: {error}") from error
        except TypeError as error:
            raise ModelError(f"{self.factory}({', '.join(self.args)}) failed: {error}") from error
        with _carried(self.root):
            return snapshot_object(model, directory)


@contextmanager
def _carried(root: Path | None) -> Iterator[None]:
    """Pickle classes of modules that lie in `root` by value: other processes do not search that folder."""
    import cloudpickle

    modules = [module for module in sys.modules.values() if root is not None and _lies_in(module, root)]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


def _lies_in(module: Any, root: Path) -> bool:
    file = getattr(module, "__file__", None)
    if file is None or "." in module.__name__:  # a package brings its submodules along
        return False
    path = Path(file)
    return root.resolve() == (path.parent.parent if path.name == "__init__.py" else path.parent).resolve()
