"""Packed weights: what is packed comes back, bytes are what b bits take, and a packed module is stored without its floats."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.forms.packed import Packed, PackedTensor, pack, unpack
from farthing.testing import zoo


@given(bits=st.integers(1, 8), count=st.integers(1, 50), seed=st.integers(0, 9))
def test_codes_come_back(bits: int, count: int, seed: int) -> None:
    codes = torch.randint(0, 2**bits, (count,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = pack(codes, bits)
    assert len(packed) == -(-count * bits // 8)
    assert torch.equal(unpack(packed, bits, count), codes)


def test_each_group_has_its_scale_and_offset_and_the_last_may_be_shorter() -> None:
    codes = torch.tensor([[0, 1, 2, 3, 3], [3, 2, 1, 0, 1]])
    scale, zero = torch.tensor([[1.0, 10.0, 2.0], [0.5, 1.0, 4.0]]), torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    tensor = PackedTensor.of(codes, 2, scale, zero=zero, group_size=2)
    expected = torch.tensor([[0.0, 1.0, 0.0, 10.0, 4.0], [1.0, 0.5, 1.0, 0.0, 4.0]])
    assert torch.equal(tensor.decode(), expected)


def test_levels_stand_for_codes_in_a_tensor_of_any_rank() -> None:
    codes = torch.randint(0, 3, (4, 3, 2, 2), generator=torch.Generator().manual_seed(0))
    tensor = PackedTensor.of(codes, 2, torch.full((1, 1), 0.5), levels=torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(tensor.decode(), 0.5 * (codes.float() - 1))
    assert tensor.num_bytes == 12 + 4 + 12


def test_a_packed_module_is_stored_small_and_answers_as_its_decoded_weights_do(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    module = torch_form.load(source)
    tensors = {}
    for name, weight in module.named_parameters():
        if weight.ndim == 2:
            scale = weight.abs().amax(1, keepdim=True) / 7
            codes = (weight / scale).round().clamp(-7, 7) + 7
            tensors[name] = PackedTensor.of(codes, 4, scale, zero=torch.full_like(scale, 7.0))
    result = torch_form.derive(Packed(module, tensors), source, tmp_path / "packed", frozenset({"packed"}))
    assert result.path.stat().st_size < 0.45 * source.path.stat().st_size
    again = torch_form.load(result)
    assert torch.equal(again.module[0].weight, tensors["0.weight"].decode())
    x = torch.randn(3, 12)
    assert torch.equal(again(x), module(x))
    torch_form.derive(again, source, tmp_path / "again", frozenset())
    assert (tmp_path / "again" / result.file).read_bytes() == result.path.read_bytes()


def test_bits_out_of_range_are_refused() -> None:
    with pytest.raises(BuildError, match="1 to 8 bits each, not 0"):
        PackedTensor.of(torch.zeros(2, 2), 0, torch.ones(1, 1))
