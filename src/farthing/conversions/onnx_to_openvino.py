"""Conversion: an ONNX file to an OpenVINO graph, by OpenVINO's own ONNX frontend. Needs no torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.conversions.base import Conversion
from farthing.errors import BuildError
from farthing.forms import onnx_form, openvino_form
from farthing.pipeline import derive
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxToOpenVino(Conversion):
    source: ClassVar[str] = "onnx"
    target: ClassVar[str] = "openvino"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        openvino = openvino_form.openvino()
        try:
            model = openvino.convert_model(source.path)
        except openvino_form.failures() as error:
            raise BuildError(f"OpenVINO cannot read {source.file}: {_told(str(error))}") from error
        file = openvino_form.save(model, source, directory)
        result = derive(source, directory, form=self.target, file=file)
        before = onnx_form.OnnxSession(source.path, threads=context.threads)
        after = openvino_form.OpenVinoSession(result, threads=context.threads, streams=1)
        self.check(before.run, after.run, source, context)
        return result


def _told(error: str) -> str:
    """What matters of a message that is mostly OpenVINO's own source files: the operators it does not know."""
    unknown = re.search(r"No conversion rule found for operations: ([\w., ]+?)\s*(?:Conversion|$)", " ".join(error.split()))
    return f"it has no {unknown[1].rstrip(', ')}" if unknown else error
