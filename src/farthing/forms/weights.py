"""The weights of a module that can be stored in fewer bytes: its matrices and, where asked, its vectors."""

import torch
from torch import nn

from farthing.errors import BuildError

FEWEST_WEIGHTS = 64  # of a matrix: a smaller one has nothing to give


def matrices(module: nn.Module, method: str, *, fewest: int = FEWEST_WEIGHTS, vectors: bool = False) -> dict[str, nn.Parameter]:
    """Float parameters of two axes and more, tied ones once; with `vectors` biases and norms too. Empty ones are left out.

    fewest: values of a matrix.

    Raises BuildError, naming the method, where there is none, and for one that holds NaN or infinity.
    """
    found = {
        name: parameter
        for name, parameter in module.named_parameters()
        if parameter.is_floating_point()
        and (parameter.numel() >= fewest if parameter.ndim > 1 else vectors and parameter.numel() > 0)
    }
    if not any(parameter.ndim > 1 for parameter in found.values()):
        raise BuildError(f"{method}: {type(module).__name__} has no weight of {fewest} values or more")
    for name, parameter in found.items():
        if not bool(torch.isfinite(parameter).all()):
            raise BuildError(f"{method}: {name} holds NaN or infinity. Give a model whose weights are numbers.")
    return found
