"""Conversion: a torch module to an OpenVINO graph, by OpenVINO's own PyTorch frontend."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.conversions.base import Conversion, example
from farthing.errors import BuildError
from farthing.forms import openvino_form
from farthing.pipeline import derive
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchToOpenVino(Conversion):
    source: ClassVar[str] = "torch"
    target: ClassVar[str] = "openvino"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import torch_form
        from farthing.forms.packed import Packed

        openvino = openvino_form.openvino()
        module = torch_form.load(source)
        arguments = torch_form.tensors(example(source, context), source.inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of every branch in Python; the check below judges the result
            try:
                model = openvino.convert_model(module, example_input=arguments)
            except openvino_form.failures() as error:
                raise BuildError(f"OpenVINO cannot read {type(module).__name__}: {error}") from error
        if isinstance(module, Packed):
            openvino_form.keep_packed(model, module.tensors)
        file = openvino_form.save(model, source, directory)
        result = derive(source, directory, form=self.target, file=file, pickled=False)
        before = torch_form.TorchSession(module, source.inputs, threads=context.threads)
        after = openvino_form.OpenVinoSession(result, threads=context.threads, streams=1, exact=True)
        self.check(before.run, after.run, source, context)
        return result
