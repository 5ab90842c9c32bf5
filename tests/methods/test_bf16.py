"""bfloat16 on torch: what is computed in it, what is stored in it, and what stays float32."""

from pathlib import Path

import torch

from farthing import torch_form
from farthing.methods.bf16 import Bf16
from farthing.methods.bf16_weights import Bf16Weights
from farthing.testing.methods import answers

from .originals import context_for, cosine, encoder


def dtypes(module: torch.nn.Module, kind: type[torch.nn.Module]) -> set[torch.dtype]:
    """What modules of this kind return."""
    seen: set[torch.dtype] = set()
    for part in module.modules():
        if isinstance(part, kind):
            part.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    ids = torch.ones(2, 3, dtype=torch.int64)
    (answer,) = module(ids, ids)
    assert answer.dtype == torch.float32
    return seen


def test_autocast_leaves_norms_and_weights_in_float32(tmp_path: Path) -> None:
    source = encoder(tmp_path / "original")
    module = torch_form.load(Bf16().apply(source, tmp_path / "result", context_for(source)))
    assert dtypes(module, torch.nn.Linear) == {torch.bfloat16}
    assert dtypes(module, torch.nn.LayerNorm) == {torch.float32}
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_weights_are_stored_in_half_the_bytes(tmp_path: Path) -> None:
    source = encoder(tmp_path / "original")
    result = Bf16Weights().apply(source, tmp_path / "result", context_for(source))
    assert dtypes(torch_form.load(result), torch.nn.LayerNorm) == {torch.bfloat16}
    assert result.path.stat().st_size < 0.6 * source.path.stat().st_size
    assert cosine(answers(source, context_for(source)), answers(result, context_for(source))) > 0.999
