"""Conversion: a torch module to ONNX, in the shape that ONNX Runtime's fusions recognise."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from farthing.conversions.base import Conversion, example
from farthing.errors import BuildError
from farthing.forms import onnx_form, onnx_packed
from farthing.pipeline import derive
from farthing.types import Context, Pipeline

FUSED_OPSET = 17  # the newest whose operators the attention fusion knows


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchToOnnx(Conversion):
    """Tracing takes a tenth of the time of torch.export on an encoder, and ONNX Runtime fuses attention only in its graphs.

    `fuse_attention` writes one operator per attention block. Off, because on the CPU it was 5% to 15% slower than the
    parts (all-MiniLM-L6-v2, 32 to 128 tokens, float32 and int8; CPU time of one thread, November 2026).
    Packed weights stay packed. Once the outputs were checked, their products may round activations to 8 bits: without it 4 bits
    are slower, and 8 bits ten times slower, than float32 wherever more than one row is asked at a time.
    """

    source: ClassVar[str] = "torch"
    target: ClassVar[str] = "onnx"
    exporter: Literal["trace", "export"] = "trace"
    fuse_attention: bool = False

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import torch_form
        from farthing.forms.packed import Packed

        module = torch_form.load(source)
        arguments = torch_form.tensors(example(source, context), source.inputs)
        directory.mkdir(parents=True, exist_ok=True)
        config = _write_attention_out(module)
        options = self._options(module, source)
        _export(module, arguments, source, directory / onnx_form.FILE, options)
        if self.fuse_attention:
            _fuse(directory / onnx_form.FILE, config)
        num_packed = onnx_packed.keep_packed(directory / onnx_form.FILE, module.tensors) if isinstance(module, Packed) else 0
        result = derive(source, directory, form=self.target, file=onnx_form.FILE, pickled=False)
        before = torch_form.TorchSession(torch_form.load(source), source.inputs, threads=context.threads)
        after = onnx_form.OnnxSession(result.path, threads=context.threads)
        self.check(before.run, after.run, source, context)
        if num_packed:
            onnx_packed.round_activations(result.path)
        return result

    def _options(self, module: Any, source: Pipeline) -> dict[str, Any]:
        from farthing.forms import torch_form

        if self.exporter == "export":
            shapes = torch_form.dynamic_shapes(module, source)
            return {"dynamo": True, "dynamic_shapes": shapes, "external_data": False, "verbose": False}
        specs = (*source.inputs, *source.outputs)
        axes = {s.name: {i: name for i, name in enumerate(s.shape) if isinstance(name, str)} for s in specs}
        return {"dynamo": False, "dynamic_axes": axes, "opset_version": FUSED_OPSET if self.fuse_attention else None}


def _write_attention_out(module: Any) -> Any:
    """Switch a transformer to the "eager" attention, whose pattern the fusions know; returns its config, or None."""
    config = None
    for part in module.modules():
        if hasattr(part, "set_attn_implementation"):
            part.set_attn_implementation("eager")
            config = config or part.config
    return config


def _export(module: Any, arguments: tuple[Any, ...], source: Pipeline, path: Path, options: dict[str, Any]) -> None:
    import torch

    names = {"input_names": [spec.name for spec in source.inputs], "output_names": [spec.name for spec in source.outputs]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing's deprecation, and of every branch in Python; outputs are checked
        try:
            torch.onnx.export(module, arguments, path, **names, **options)
        except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            raise BuildError(f"torch cannot export {type(module).__name__} to ONNX: {error}") from error


def _fuse(path: Path, config: Any) -> None:
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.use_raw_attention_mask()  # its default counts the mask's ones: right for padding at the end only
    heads, width = getattr(config, "num_attention_heads", 0), getattr(config, "hidden_size", 0)
    fused = optimizer.optimize_model(
        str(path), model_type="bert", num_heads=heads, hidden_size=width, opt_level=0, optimization_options=options
    )
    if not fused.get_fused_operator_statistics()["Attention"]:
        raise BuildError("ONNX Runtime found no attention that it can fuse in this model: switch fuse_attention off")
    fused.save_model_to_file(str(path))
