"""Few values a layer: as many as asked, zeros kept, the values or the weights learned; bad settings are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.prune_weights import PruneWeights
from farthing.methods.share_weights import ShareWeights
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.training import loop
from farthing.types import Context, Pipeline, TensorSpec

from .originals import context_for, conv_net, snapshot, weightless


def of(name: str, directory: Path) -> tuple[Pipeline, Context]:
    source = zoo.source(name, directory / name)
    return source, zoo.context(source)


def weights(pipeline: Pipeline) -> dict[str, torch.Tensor]:
    module = torch_form.load(pipeline)
    return {name: module.module.get_parameter(name) for name in module.tensors}


@pytest.mark.parametrize("knobs", [{"epochs": 0}, {"epochs": 2}, {"epochs": 2, "entropy": 0.05}])
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_each_layer_has_so_many_values_and_is_stored_in_their_bits(name: str, knobs: dict, tmp_path: Path) -> None:
    source, context = of(name, tmp_path)
    result = ShareWeights(clusters=7, **knobs).apply(source, tmp_path / "result", context)
    assert all(len(weight.unique()) <= 7 for weight in weights(result).values())
    tensors = torch_form.load(result).tensors
    assert all(tensor.bits == 3 and tensor.levels.dtype == torch.float16 for tensor in tensors.values())
    assert all(tensor.num_bytes < tensor.decode().numel() * 3 / 8 + 40 for tensor in tensors.values())


@pytest.mark.parametrize("epochs", [0, 2])
def test_zeros_stay_zeros_and_take_one_of_the_values(epochs: int, tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    pruned = PruneWeights(sparsity=0.8, epochs=0).apply(source, tmp_path / "pruned", context)
    result = ShareWeights(clusters=8, epochs=epochs).apply(pruned, tmp_path / "result", context)
    module = torch_form.load(pruned)
    for name, weight in weights(result).items():
        assert torch.equal(weight == 0, module.get_parameter(name) == 0)
        assert len(weight.unique()) <= 8


def test_weights_of_few_values_are_kept_as_they_are(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    module = torch_form.load(source)
    for layer in (0, 2, 4, 6):
        module[layer].weight.copy_(module[layer].weight.sign() * 0.25)
    torch_form.save(module, source.directory)
    result = ShareWeights(clusters=16, epochs=0).apply(source, tmp_path / "result", context)
    for name, weight in weights(result).items():
        assert torch.equal(weight, module.get_parameter(name))


def test_learning_the_values_makes_good_what_sharing_costs(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    rows, labels = torch.from_numpy(context.calibrate.columns[0]), torch.from_numpy(context.calibrate.labels)
    losses = []
    for epochs in (0, 8):
        method = ShareWeights(clusters=3, epochs=epochs, learning_rate=5e-3)
        module = torch_form.load(method.apply(source, tmp_path / str(epochs), context))
        losses.append(float(nn.functional.cross_entropy(module(rows), labels)))
    assert losses[1] < 0.9 * losses[0], losses


def test_a_price_on_bits_makes_zeros(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    shares = []
    for entropy in (1e-4, 1.0):
        method = ShareWeights(clusters=5, entropy=entropy, epochs=20, learning_rate=3e-3)
        found = weights(method.apply(source, tmp_path / str(entropy), context))
        shares.append(sum(int((w == 0).sum()) for w in found.values()) / sum(w.numel() for w in found.values()))
    assert shares[1] > 0.85 > 0.7 > shares[0], shares


def test_vectors_are_shared_where_asked(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    assert set(weights(ShareWeights(epochs=0).apply(source, tmp_path / "a", context))) == {f"{i}.weight" for i in (0, 2, 4, 6)}
    assert len(weights(ShareWeights(epochs=0, vectors=True).apply(source, tmp_path / "b", context))) == 8


@pytest.mark.parametrize("entropy", [0.0, 0.1])
def test_killed_while_it_learns_it_goes_on_and_ends_the_same(
    entropy: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)
    source, context = of("mlp", tmp_path)
    method = ShareWeights(clusters=5, entropy=entropy, epochs=2)
    whole = method.apply(source, tmp_path / "whole", context)
    resumed = replace(context, checkpoints=tmp_path / "checkpoints")
    steps, take = 0, loop._Training._take

    def dying(self, batch):
        nonlocal steps
        steps += 1
        if steps == 9:
            raise KeyboardInterrupt
        return take(self, batch)

    monkeypatch.setattr(loop._Training, "_take", dying)
    with pytest.raises(KeyboardInterrupt):
        method.apply(source, tmp_path / "killed", resumed)
    result = method.apply(source, tmp_path / "result", resumed)
    assert steps == 9 + 14 - 8
    assert result.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"clusters": 0}, "2 to 256 values, not 0"),
        ({"clusters": 1}, "2 to 256 values, not 1"),
        ({"clusters": 257}, "2 to 256 values, not 257"),
        ({"entropy": -1.0}, "0 or more, not -1"),
        ({"entropy": 0.1, "epochs": 0}, "paid while it learns"),
        ({"entropy": 0.1, "clusters": 2}, "zero and two levels at least"),
        ({}, "the train split, which is empty"),
    ],
)
def test_settings_that_are_none_are_refused(knobs: dict, why: str, tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match=f"share_weights: .*{why}"):
        ShareWeights(**knobs).apply(source, tmp_path / "result", context_for(source))


def test_models_that_it_cannot_treat_are_named(tmp_path: Path) -> None:
    nothing = weightless(tmp_path / "nothing")
    with pytest.raises(BuildError, match="share_weights: Weightless has no weight of 64 values"):
        ShareWeights(epochs=0).apply(nothing, tmp_path / "result", context_for(nothing))
    source = conv_net(tmp_path / "nan")
    module = torch_form.load(source)
    module.head.weight[3, 3] = torch.nan
    torch_form.save(module, source.directory)
    with pytest.raises(BuildError, match=r"share_weights: head\.weight holds NaN"):
        ShareWeights(epochs=0).apply(source, tmp_path / "result", context_for(source))
    few, context = of("mlp", tmp_path)
    with pytest.raises(BuildError, match="share_weights: training takes at least 20 items"):
        ShareWeights().apply(few, tmp_path / "few", replace(context, train=context.train.take(torch.arange(9).numpy())))


class WithEmpty(nn.Module):
    """A layer of no inputs: its answer is its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.empty = nn.Linear(12, 16), nn.Linear(1, 16)
        self.empty.weight = nn.Parameter(torch.empty(16, 0))
        self.empty.bias.data.fill_(0.5)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.body(input) + self.empty(input[:, :0])


def test_an_empty_layer_is_left_alone(tmp_path: Path) -> None:
    source = snapshot(WithEmpty, (TensorSpec(name="input", dtype="float32", shape=("batch", 12)),), tmp_path / "source")
    result = ShareWeights(clusters=8, epochs=0, vectors=True).apply(source, tmp_path / "result", context_for(source))
    assert set(weights(result)) == {"body.weight", "body.bias", "empty.bias"}


def test_it_is_proposed_where_bytes_are_limited_and_learns_where_it_can() -> None:
    profile = encoder_profile()
    assert "limits.artifact_bytes" in str(ShareWeights.propose(profile))
    limited = replace(profile, bytes_are_limited=True, num_train=0)
    assert [m.epochs for m in ShareWeights.propose(limited)] == [0]
    assert all(m.epochs for m in ShareWeights.propose(replace(limited, num_train=1000)))
