"""Which layers suffer most from int8: each is fake-quantized alone, and the model's answer compared."""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

MAX_ROWS = 8  # of the calibration batches
MAX_S = 15.0

Batches = Sequence[tuple["torch.Tensor", ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivities:
    errors: tuple[tuple[str, float], ...] = ()  # (layer path, relative error when it alone is int8), the worst first
    num_untried: int = 0  # layers for which the time did not suffice, the smallest ones


def sensitivities(module: "torch.nn.Module", batches: Batches, *, max_s: float = MAX_S) -> Sensitivities:
    """error = ||y_int8 - y|| / ||y|| of the first output when one Linear or Conv alone is int8.

    Weights: symmetric per output channel, w ~= s round(w / s), s = max|w| / 127. Input: asymmetric per tensor in 255 steps,
    its range the least and largest value seen on `batches`. The first MAX_ROWS rows, the largest layers first, within
    `max_s`; layers that the forward pass never calls are left out. `module` itself is not changed.
    """
    import torch

    module = copy.deepcopy(module)
    batches = _rows(batches)
    started = time.monotonic()
    errors: dict[str, float] = {}
    with torch.no_grad():
        ranges, expected = _observe(module, batches)
        layers = sorted(ranges, key=lambda path: -module.get_submodule(path).weight.numel())
        for path in layers:
            with _int8(module.get_submodule(path), *ranges[path]):
                errors[path] = _relative_error(_answers(module, batches), expected)
            if time.monotonic() - started > max_s:
                break
    worst_first = tuple(sorted(errors.items(), key=lambda item: (-item[1], item[0])))
    return Sensitivities(errors=worst_first, num_untried=len(layers) - len(errors))


def _rows(batches: Batches) -> list[Any]:
    """The first MAX_ROWS rows, still in their batches."""
    taken, rows = [], 0
    for batch in batches:
        if rows >= MAX_ROWS:
            break
        taken.append(tuple(tensor[: MAX_ROWS - rows] for tensor in batch))
        rows += len(taken[-1][0])
    return taken


def _observe(module: "torch.nn.Module", batches: Batches) -> "tuple[dict[str, tuple[float, float]], list[torch.Tensor]]":
    """The range of every quantizable layer's input, zero included, and the answers of the untouched model."""
    from torch import nn

    ranges: dict[str, tuple[float, float]] = {}

    def watch(path: str) -> Any:
        def hook(_: nn.Module, inputs: "tuple[torch.Tensor, ...]") -> None:
            low, high = ranges.get(path, (0.0, 0.0))
            ranges[path] = (min(low, inputs[0].min().item()), max(high, inputs[0].max().item()))

        return hook

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    handles = [m.register_forward_pre_hook(watch(path)) for path, m in module.named_modules() if isinstance(m, kinds)]
    expected = _answers(module, batches)
    for handle in handles:
        handle.remove()
    return ranges, expected


@contextmanager
def _int8(layer: "torch.nn.Module", low: float, high: float) -> Iterator[None]:
    """Inside, this layer computes what an int8 kernel would."""
    import torch

    scale = (high - low) / 255 or 1.0
    zero_point = round(-low / scale)

    def quantize(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        steps = torch.clamp(torch.round(inputs[0] / scale) + zero_point, 0, 255)
        return ((steps - zero_point) * scale, *inputs[1:])

    weight = layer.weight.data
    steps = weight.flatten(1).abs().amax(1).clamp_min(1e-12).div(127).reshape(-1, *[1] * (weight.ndim - 1))
    handle = layer.register_forward_pre_hook(quantize)
    layer.weight.data = torch.round(weight / steps) * steps
    try:
        yield
    finally:
        layer.weight.data = weight
        handle.remove()


def _answers(module: "torch.nn.Module", batches: Batches) -> "list[torch.Tensor]":
    import torch

    outputs = [module(*batch) for batch in batches]
    return [output if isinstance(output, torch.Tensor) else output[0] for output in outputs]


def _relative_error(answers: "list[torch.Tensor]", expected: "list[torch.Tensor]") -> float:
    """The L2 norm of the difference over that of `expected`, over all batches."""
    difference = sum(float(((a - e) ** 2).sum()) for a, e in zip(answers, expected, strict=True))
    return float((difference / max(sum(float((e**2).sum()) for e in expected), 1e-30)) ** 0.5)
