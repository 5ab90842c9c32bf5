"""A function of the person's own project that returns a live model."""

import ast
import difflib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farthing import plugins
from farthing.errors import JobError, ModelError
from farthing.model_sources.base import ModelSource, snapshot_object
from farthing.types import Pipeline

STAR = "*"  # of `from x import *`: what it binds cannot be read off


@dataclass(frozen=True, slots=True, kw_only=True)
class Python(ModelSource):
    """The function returns what `snapshot_object` takes. It is code of the person's own, named in their own job: trusted."""

    factory: str  # "package.module:function"
    args: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of the function
    root: Path | None = None  # the folder that is searched first for the module

    def check(self, *, trust: bool) -> None:
        """Reads the module's text: importing it would run it."""
        module, _, attribute = self.factory.partition(":")
        if not (module and attribute):
            raise JobError(f"{self.factory!r} is not of the form 'package.module:function'")
        file = _file_of(module, self.root)
        if file is None:
            return
        try:
            names = _names(ast.parse(file.read_bytes(), str(file)))
        except (OSError, SyntaxError, ValueError) as error:
            raise ModelError(f"{file} cannot be read as Python: {error}") from error
        if attribute not in names and STAR not in names:
            near = difflib.get_close_matches(attribute, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise JobError(f"{self.factory!r}: {file} has no function {attribute!r}.{hint}")

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        try:
            model = plugins.function(self.factory, self.root)(**self.args)
        except OSError as error:
            raise ModelError(f"{self.factory} could not read its files: {error}") from error
        except TypeError as error:
            raise ModelError(f"{self.factory}({', '.join(self.args)}) failed: {error}") from error
        with _carried(self.root):
            return snapshot_object(model, directory)


def _file_of(module: str, root: Path | None) -> Path | None:
    """Its source, where it has one. Raises JobError if there is no such module."""
    place = Path(root or "", *module.split("."))
    for file in (place.with_suffix(".py"), place / "__init__.py"):
        if file.is_file():
            return file
    package, _, rest = module.partition(".")
    found = importlib.util.find_spec(package)  # of its parts only the package's own code could tell
    if found is None:
        raise JobError(f"no module {package!r} in {root or 'the path'}; put {package}.py there, or install it")
    return Path(found.origin) if not rest and found.origin and found.origin.endswith(".py") else None


def _names(tree: ast.Module) -> set[str]:
    """Every name that the module may bind, wherever in it that stands."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


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
