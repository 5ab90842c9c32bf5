"""Autocast: what is computed in bfloat16, and what stays float32."""

from pathlib import Path

import torch

from farthing.forms import torch_form
from farthing.methods.bf16 import Bf16

from .originals import context_for, dtypes_of, encoder


def test_autocast_leaves_norms_and_weights_in_float32(tmp_path: Path) -> None:
    source = encoder(tmp_path / "original")
    module = torch_form.load(Bf16().apply(source, tmp_path / "result", context_for(source)))
    assert dtypes_of(module, torch.nn.Linear) == {torch.bfloat16}
    assert dtypes_of(module, torch.nn.LayerNorm) == {torch.float32}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
