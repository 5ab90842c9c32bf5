"""Conversion: a torch module to a package compiled ahead of time by AOTInductor, for one kind of processor."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.conversions.base import Conversion, example
from farthing.errors import BuildError
from farthing.pipeline import derive
from farthing.types import Context, Pipeline

FILE = "model.pt2"
OPTIONS = {
    "freezing": True,  # weights are constants: they are packed for the processor's matrix units
    "cpp.dynamic_threads": True,  # the number of threads is chosen when it is opened, not now
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchToAoti(Conversion):
    """Batch and length stay dynamic: one compilation serves every shape. Takes about half a minute and a C++ compiler."""

    source: ClassVar[str] = "torch"
    target: ClassVar[str] = "aoti"
    stops: ClassVar[frozenset[str]] = Conversion.stops - {"bf16"}

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import torch_form

        module = torch_form.load(source)
        arguments = torch_form.tensors(example(source, context), source.inputs)
        directory.mkdir(parents=True, exist_ok=True)
        _compile(module, arguments, torch_form.dynamic_shapes(module, source), directory / FILE)
        result = derive(source, directory, form=self.target, file=FILE, pickled=False)
        before = torch_form.TorchSession(module, source.inputs, threads=context.threads)
        after = torch_form.open_package(result, threads=context.threads, streams=1)
        self.check(before.run, after.run, source, context)
        return result


def _compile(module: object, arguments: tuple[object, ...], dynamic_shapes: object, path: Path) -> None:
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecations inside torch; outputs are checked
        try:
            program = torch.export.export(module, arguments, dynamic_shapes=dynamic_shapes)
            torch._inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=OPTIONS)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise BuildError(f"AOTInductor cannot compile {type(module).__name__}: {error}") from error
