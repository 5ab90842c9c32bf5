"""Conversion: a torch module to ONNX, in the shape that ONNX Runtime's fusions recognise."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from farthing import pipeline as pipelines
from farthing.conversions.base import Conversion, example, trials
from farthing.errors import MissingExtra
from farthing.types import Context, Pipeline

FILE = "model.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchToOnnx(Conversion):
    source: ClassVar[str] = "torch"
    target: ClassVar[str] = "onnx"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing import torch_form

        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtra("onnxruntime", "onnx") from error
        module = torch_form.load(source)
        directory.mkdir(parents=True, exist_ok=True)
        _export(module, torch_form.tensors(example(source, context), source.inputs), source, directory / FILE)
        session = onnxruntime.InferenceSession(directory / FILE, providers=["CPUExecutionProvider"])
        original = torch_form.TorchSession(torch_form.load(source), source.inputs, threads=context.threads)
        self.check(original.run, lambda feeds: list(session.run(None, feeds)), trials(source, context))
        return pipelines.derive(source, directory, form=self.target, file=FILE, pickled=False)


def _export(module: Any, arguments: tuple[Any, ...], source: Pipeline, path: Path) -> None:
    """By tracing: ONNX Runtime fuses attention only in graphs traced from the "eager" attention, none of torch.export's."""
    import torch

    for part in module.modules():
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
    specs = (*source.inputs, *source.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation of tracing, and a warning for every Python branch; outputs are checked
        torch.onnx.export(
            module,
            arguments,
            path,
            dynamo=False,
            input_names=[spec.name for spec in source.inputs],
            output_names=[spec.name for spec in source.outputs],
            dynamic_axes={s.name: {i: n for i, n in enumerate(s.shape) if isinstance(n, str)} for s in specs},
        )
