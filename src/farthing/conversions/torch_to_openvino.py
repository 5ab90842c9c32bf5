"""Conversion: a torch module to an OpenVINO graph, by OpenVINO's own PyTorch frontend."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing import pipeline as pipelines
from farthing.conversions.base import Conversion, example, trials
from farthing.errors import BuildError, MissingExtra
from farthing.types import Context, Pipeline

FILE = "model.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchToOpenVino(Conversion):
    source: ClassVar[str] = "torch"
    target: ClassVar[str] = "openvino"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing import torch_form

        try:
            import openvino
        except ImportError as error:
            raise MissingExtra("openvino", "openvino") from error
        module = torch_form.load(source)
        feeds = example(source, context)
        shapes = [openvino.PartialShape([n if isinstance(n, int) else -1 for n in spec.shape]) for spec in source.inputs]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of every Python branch; the check below judges the result
            try:
                model = openvino.convert_model(module, example_input=torch_form.tensors(feeds, source.inputs))
            except Exception as error:
                raise BuildError(f"OpenVINO cannot read this module: {error}") from error
        model.reshape({model.inputs[i]: shape for i, shape in enumerate(shapes)})
        for specs, ports in ((source.inputs, model.inputs), (source.outputs, model.outputs)):
            for spec, port in zip(specs, ports, strict=True):
                port.get_tensor().set_names({spec.name})
        directory.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, directory / FILE, compress_to_fp16=False)
        compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        session = torch_form.TorchSession(module, source.inputs, threads=context.threads)
        self.check(session.run, lambda f: list(compiled(f).values()), trials(source, context))
        return pipelines.derive(source, directory, form=self.target, file=FILE, pickled=False)
