"""The original as a torch module: its batch times, and its operators one by one."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from farthing.diagnosis.roofline import Call, flops, grouped, label
from farthing.diagnosis.sensitivity import Sensitivities, sensitivities
from farthing.types import Feeds, Pipeline

if TYPE_CHECKING:
    import torch

# kind -> operators of ATen as they reach the kernels; pointwise and reduction operators carry tags of their own
KINDS = {
    "linear": "mm addmm mv addmv linear",
    "matmul": "bmm baddbmm addbmm dot",
    "conv": "convolution _convolution mkldnn_convolution cudnn_convolution convolution_overrideable",
    "norm": "native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
    "softmax": "_softmax _log_softmax",
    "embedding": "embedding index_select gather index _embedding_bag",
    "copy": "clone copy_ copy _to_copy cat stack constant_pad_nd contiguous repeat",
    "pool": "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}
BIAS_FIRST = {"addmm", "addmv", "baddbmm", "addbmm"}


class TorchOriginal:
    """The module of `pipeline`, run eagerly without gradients. Raises ModelError, MissingExtra."""

    def __init__(self, pipeline: Pipeline, device_kind: str) -> None:
        from farthing.forms import torch_form

        self.pipeline, self.device_kind = pipeline, device_kind
        self.module = torch_form.load(pipeline).to(device_kind)
        self.traces: list[list[tuple[Call, float]]] = []

    def run(self, feeds: Feeds, threads: int) -> None:
        import torch

        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode():
            self.module(*self.tensors(feeds))
        self._finish()

    def trace(self, feeds: Feeds, threads: int) -> None:
        """Without gradients, but not in inference mode: that keeps composite operators (einsum, attention) closed."""
        import torch

        torch.set_num_threads(threads)
        tensors = self.tensors(feeds)
        with torch.no_grad(), _recorder(self._finish) as recorder:
            self.module(*tensors)
        self.traces.append(recorder.calls)

    def timeline(self) -> tuple[Call, ...]:
        """Every ATen kernel call of the fastest traced batch, less the cost of tracing it, grouped by operator and shapes."""
        instrument_s = _instrument_s(self._finish)
        fastest = min(self.traces, key=lambda calls: sum(seconds for _, seconds in calls))
        return grouped([replace(call, seconds=max(0.0, seconds - instrument_s)) for call, seconds in fastest])

    def sensitivities(self, calibration: Sequence[Feeds], threads: int) -> Sensitivities:
        import torch

        torch.set_num_threads(threads)
        return sensitivities(self.module, [self.tensors(feeds) for feeds in calibration])

    def tensors(self, feeds: Feeds) -> "tuple[torch.Tensor, ...]":
        from farthing.forms import torch_form

        return tuple(tensor.to(self.device_kind) for tensor in torch_form.tensors(feeds, self.pipeline.inputs))

    def _finish(self) -> None:
        import torch

        if self.device_kind == "cuda":
            torch.cuda.synchronize()


def _recorder(finish: Callable[[], None]) -> Any:
    """A context in which every ATen call is appended to `.calls` as (call, seconds)."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.calls: list[tuple[Call, float]] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            finish()
            started = time.perf_counter()
            result = func(*args, **(kwargs or {}))
            finish()
            seconds = time.perf_counter() - started
            self.calls.append((_call(func, (args, kwargs), result), seconds))
            return result

    return Recorder()


def _call(func: Any, arguments: Any, result: Any) -> Call:
    import torch
    from torch.utils._pytree import tree_leaves

    def tensors(tree: Any) -> list[torch.Tensor]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]

    name, read, written = func.overloadpacket.__name__, tensors(arguments), tensors(result)
    kind = _kind(func, name, arguments)
    operands = [tuple(t.shape) for t in (read[1:] if name in BIAS_FIRST else read)]
    outputs = [tuple(t.shape) for t in written]
    touched = written * 2 if kind == "embedding" else read + written  # only the rows that are looked up are read
    return Call(
        name=label(name, operands, outputs),
        kind=kind,
        seconds=0.0,
        flops=flops(kind, operands, outputs),
        bytes=0.0 if kind == "view" else float(sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in touched)),
        dtype=str(read[0].dtype).removeprefix("torch.") if read else "float32",
    )


def _kind(func: Any, name: str, arguments: Any) -> str:
    import torch

    if func.is_view or name == "_unsafe_view":
        return "view"
    if "scaled_dot_product" in name:
        return "attention"
    if "convolution" in name and any(argument is True for argument in arguments[0][6:7]):
        return "conv_transpose"
    if name in KIND_OF:
        return KIND_OF[name]
    if torch.Tag.pointwise in func.tags:
        return "elementwise"
    return "reduction" if torch.Tag.reduction in func.tags else "other"


def _instrument_s(finish: Callable[[], None]) -> float:
    """What the recorder itself adds to each call: the median time of a view, which does nothing."""
    import torch

    tensor = torch.zeros(2)
    with torch.no_grad(), _recorder(finish) as recorder:
        for _ in range(101):
            tensor.view(2, 1)
    return float(statistics.median(seconds for _, seconds in recorder.calls))
