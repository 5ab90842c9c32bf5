"""A layer whose inputs are rounded to powers of two first: for inputs that are never negative, most of them small."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms.grids import exponent

LEAST_SKEW = 1.0  # third standardized moment; that of a half bell is 1.0, of an exponential 2
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LogInput(nn.Module):  # type: ignore[misc]
    """x ~= 2^k, k = clamp(round(log2 x), top - 2^bits + 2, top), and 0 where x < half the smallest power.

    Miyashita et al., arXiv 1603.01025, LogQuant: `top` is its full scale range; 0 has a code of its own.
    """

    def __init__(self, layer: nn.Module, top: int, bits: int) -> None:
        super().__init__()
        self.layer, self.top, self.least = layer, top, top - 2**bits + 2

    def forward(self, x: torch.Tensor) -> Any:
        rounded = torch.exp2(exponent(x).clamp(self.least, self.top))
        return self.layer(torch.where(x < 2.0 ** (self.least - 1), 0.0, rounded))


def round_inputs(module: nn.Module, batches: Iterable[tuple[Any, ...]], bits: int, method: str) -> None:
    """Put a LogInput around each layer of `module` whose inputs on all batches are never negative and skewed.

    Raises BuildError, beginning with `method`, where there is none.
    """
    seen = _inputs(module, batches)
    skewed = {path: values.max() for path, values in seen.items() if _is_skewed(values)}
    if not skewed:
        raise BuildError(
            f"{method}: no layer of {type(module).__name__} has inputs that are never negative and have a skew "
            f"above {LEAST_SKEW:g}. Use activation_bits = 0."
        )
    for path, most in skewed.items():
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, LogInput(module.get_submodule(path), int(exponent(most)), bits))


def _inputs(module: nn.Module, batches: Iterable[tuple[Any, ...]]) -> dict[str, torch.Tensor]:
    """All values that each layer is given, in one row."""
    seen: dict[str, list[torch.Tensor]] = {}

    def watch(path: str) -> Any:
        return lambda _, inputs: seen.setdefault(path, []).append(inputs[0].detach().flatten())

    handles = [m.register_forward_pre_hook(watch(path)) for path, m in module.named_modules() if isinstance(m, KINDS)]
    with torch.no_grad():
        for batch in batches:
            module(*batch)
    for handle in handles:
        handle.remove()
    return {path: torch.cat(values) for path, values in seen.items()}


def _is_skewed(values: torch.Tensor) -> bool:
    centred = values - values.mean()
    deviation = centred.square().mean().sqrt()
    return bool((values >= 0).all() and deviation > 0 and (centred**3).mean() > LEAST_SKEW * deviation**3)
