"""mixed_bits: the allocation is the best there is, it keeps its budget, and it is better than as many bits everywhere."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import BuildError, DataError
from farthing.forms import torch_form
from farthing.methods.linear_bits import LinearBits
from farthing.methods.mixed_bits import BITS, MixedBits, allocated
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile

from .originals import context_for, encoder


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("average", [2.0, 2.5, 3.0, 4.2, 8.0])
def test_no_other_allocation_within_the_budget_is_better(average: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes = [int(n) for n in draw.integers(1, 40, 5) * 8]
    errors = [dict(zip(BITS, np.sort(draw.exponential(size=4))[::-1], strict=True)) for _ in sizes]

    def of(bits: tuple[int, ...]) -> float:
        return sum(error[b] for error, b in zip(errors, bits, strict=True))

    def spent(bits: tuple[int, ...]) -> int:
        return sum(size * b for size, b in zip(sizes, bits, strict=True))

    chosen = allocated(errors, sizes, average)
    allowed = [bits for bits in itertools.product(BITS, repeat=5) if spent(bits) <= average * sum(sizes) + 1e-6]
    assert spent(chosen) <= average * sum(sizes) + 1e-6
    assert of(chosen) == pytest.approx(min(map(of, allowed)))


def test_at_a_whole_number_of_bits_uniform_is_within_reach() -> None:
    errors = [{2: 9.0, 3: 5.0, 4: 1.0, 8: 0.99}] * 3
    assert allocated(errors, [100, 333, 50], 4.0) == (4, 4, 4)


def test_a_budget_of_too_many_units_is_kept_all_the_same() -> None:
    sizes = [10_000_019, 3, 7_777_777]
    bits = allocated([{2: 9.0, 3: 5.0, 4: 1.0, 8: 0.9}] * 3, sizes, 5.0)
    assert bits == (4, 8, 4) and sum(size * b for size, b in zip(sizes, bits, strict=True)) <= 5.0 * sum(sizes)


def test_an_encoder_answers_nearer_than_with_as_many_bits_everywhere(tmp_path: Path) -> None:
    source = encoder(tmp_path / "source")
    context = context_for(source)
    mixed = laws.check_apply(MixedBits(average_bits=3.0), source, tmp_path, context)
    uniform = LinearBits(bits=3).apply(source, tmp_path / "uniform", context)
    unseen = replace(context, calibration=context_for(source, 40).calibration[12:])
    truth, ours, theirs = (laws.answers(p, unseen)[0] for p in (source, mixed, uniform))
    assert np.square(ours - truth).sum() < 0.8 * np.square(theirs - truth).sum()
    tensors = torch_form.load(mixed).tensors.values()
    num_weights = sum(np.prod(t.shape) for t in tensors)
    assert sum(t.bits * np.prod(t.shape) for t in tensors) <= 3.0 * num_weights
    assert len({t.bits for t in tensors}) > 1
    assert mixed.path.stat().st_size < 1.01 * uniform.path.stat().st_size


@pytest.mark.parametrize("average", [0.0, 1.9, 9.0, float("nan")])
def test_an_average_out_of_range_is_refused(average: float, tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    with pytest.raises(BuildError, match="mixed_bits: average_bits lies between 2 and 8, not"):
        MixedBits(average_bits=average).apply(source, tmp_path / "result", zoo.context(source))


def test_too_few_rows_and_nan_are_refused(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    context = zoo.context(source)
    with pytest.raises(BuildError, match=r"mixed_bits: .* has 3"):
        MixedBits().apply(source, tmp_path / "few", replace(context, calibration=context.calibration[:3]))
    spoiled = {"input": np.full_like(context.calibration[0]["input"], np.nan)}
    with pytest.raises(DataError, match="input 'input' of calibration batch 0 holds NaN"):
        MixedBits().apply(source, tmp_path / "nan", replace(context, calibration=(spoiled, *context.calibration)))
    module = torch_form.load(source)
    module[0].weight.data[0] = float("nan")
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match=r"mixed_bits: 0\.weight holds NaN or infinity"):
        MixedBits().apply(source, tmp_path / "weights", context)


def test_answers_that_say_nothing_are_refused(tmp_path: Path) -> None:
    source = zoo.source("mlp", tmp_path / "source")
    module = torch_form.load(source)
    module[-1] = torch.nn.Linear(64, 5)
    module[-1].weight.data.zero_(), module[-1].bias.data.zero_()
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match="mixed_bits: the model answers the calibration batches with nothing but 0"):
        MixedBits().apply(source, tmp_path / "result", zoo.context(source))


def test_it_is_proposed_only_where_bytes_are_limited() -> None:
    assert "sets no limit" in MixedBits.propose(encoder_profile())
    assert [m.average_bits for m in MixedBits.propose(replace(encoder_profile(), bytes_are_limited=True))] == [4.0, 3.0]
