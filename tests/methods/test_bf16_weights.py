"""A module wholly in bfloat16: half the bytes, nearly the same answers."""

from pathlib import Path

import torch

from farthing.forms import torch_form
from farthing.methods.bf16_weights import Bf16Weights
from farthing.testing.methods import answers

from .originals import context_for, cosine, dtypes_of, encoder


def test_weights_are_stored_in_half_the_bytes(tmp_path: Path) -> None:
    source = encoder(tmp_path / "original")
    result = Bf16Weights().apply(source, tmp_path / "result", context_for(source))
    assert dtypes_of(torch_form.load(result), torch.nn.LayerNorm) == {torch.bfloat16}
    assert result.path.stat().st_size < 0.6 * source.path.stat().st_size
    assert cosine(answers(source, context_for(source)), answers(result, context_for(source))) > 0.999
