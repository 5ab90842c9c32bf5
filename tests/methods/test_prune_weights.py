"""Zeros where weights were small: as many as asked, where asked, learned around; bad settings are refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.methods.prune_weights import PruneWeights
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.training import loop
from farthing.types import Context, Pipeline

from .originals import context_for, conv_net, weightless


def of(name: str, directory: Path) -> tuple[Pipeline, Context]:
    source = zoo.source(name, directory / name)
    return source, zoo.context(source)


def zeros(pipeline: Pipeline) -> dict[str, float]:
    module = torch_form.load(pipeline)
    return {name: float((p == 0).float().mean()) for name, p in module.named_parameters() if p.ndim > 1}


def spoiled(directory: Path, change) -> Pipeline:
    source = conv_net(directory)
    module = torch_form.load(source)
    change(module)
    torch_form.save(module, source.directory)
    return source


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("name", ["mlp", "cnn", "lstm"])
def test_each_layer_gets_its_share_of_zeros(name: str, epochs: int, tmp_path: Path) -> None:
    source, context = of(name, tmp_path)
    result = PruneWeights(sparsity=0.7, epochs=epochs).apply(source, tmp_path / "result", context)
    for path, share in zeros(result).items():
        assert share == pytest.approx(0.7, abs=0.02), path


def test_globally_the_smallest_of_all_go(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    module = torch_form.load(source)
    module[2].weight.mul_(0.3)
    torch_form.save(module, source.directory)
    result = PruneWeights(sparsity=0.5, scope="global", epochs=0).apply(source, tmp_path / "result", context)
    weights = [p for p in torch_form.load(result).parameters() if p.ndim > 1]
    assert sum(int((w == 0).sum()) for w in weights) == sum(w.numel() for w in weights) // 2
    assert zeros(result)["2.weight"] > 0.8 > 0.5 > zeros(result)["0.weight"]


def test_a_threshold_takes_what_is_no_larger(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    result = PruneWeights(sparsity=0.0, threshold=0.05, epochs=0).apply(source, tmp_path / "result", context)
    for was, now in zip(torch_form.load(source).parameters(), torch_form.load(result).parameters(), strict=True):
        assert was.ndim < 2 or torch.equal(now, torch.where(was.abs() > 0.05, was, 0.0))


@pytest.mark.parametrize("epochs", [0, 1])
def test_of_every_four_neighbours_the_two_largest_stay(epochs: int, tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    result = PruneWeights(sparsity=0.0, pattern="2:4", epochs=epochs).apply(source, tmp_path / "result", context)
    weight = torch_form.load(result)[2].weight
    assert ((weight.unflatten(1, (-1, 4)) != 0).sum(-1) == 2).all()
    if not epochs:
        was = torch_form.load(source)[2].weight.abs().unflatten(1, (-1, 4)).sort(-1).values
        assert torch.equal(weight.abs().unflatten(1, (-1, 4)).sort(-1).values[..., 2:], was[..., 2:])


def test_learning_makes_good_what_the_zeros_cost(tmp_path: Path) -> None:
    source, context = of("mlp", tmp_path)
    losses = []
    for epochs in (0, 8):
        method = PruneWeights(sparsity=0.6, epochs=epochs, learning_rate=2e-3)
        losses.append(loss(method.apply(source, tmp_path / str(epochs), context), context))
    assert losses[1] < 0.9 * losses[0], losses


def loss(pipeline: Pipeline, context: Context) -> float:
    """Of the answers to the calibrate split, by the original's arg max."""
    rows = torch.from_numpy(context.calibrate.columns[0])
    labels = torch.from_numpy(context.calibrate.labels)
    return float(nn.functional.cross_entropy(torch_form.load(pipeline)(rows), labels))


def test_killed_while_it_learns_it_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)
    source, context = of("mlp", tmp_path)
    method = PruneWeights(sparsity=0.7, epochs=2)
    whole = method.apply(source, tmp_path / "whole", context)
    resumed = replace(context, checkpoints=tmp_path / "checkpoints")
    steps, take = 0, loop._Training._take

    def dying(self, batch):
        nonlocal steps
        steps += 1
        if steps == 9:  # of 7 an epoch
            raise KeyboardInterrupt
        return take(self, batch)

    monkeypatch.setattr(loop._Training, "_take", dying)
    with pytest.raises(KeyboardInterrupt):
        method.apply(source, tmp_path / "killed", resumed)
    assert (tmp_path / "checkpoints" / loop.FILE).exists()
    result = method.apply(source, tmp_path / "result", resumed)
    assert steps == 9 + 14 - 8  # what was done is not done again
    assert result.path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"sparsity": 1.0}, "above 0 and below 1, not 1"),
        ({"sparsity": -0.1}, "above 0 and below 1"),
        ({"sparsity": 0.0}, "give one of sparsity, threshold and pattern"),
        ({"threshold": 0.1}, "give one of sparsity, threshold and pattern"),
        ({"sparsity": 0.0, "threshold": -1.0}, "0 or more"),
        ({"sparsity": 0.0, "pattern": "4:2"}, "n:m with 0 < n < m"),
        ({"sparsity": 0.0, "pattern": "half"}, "n:m with 0 < n < m"),
        ({"scope": "all"}, "layer or global, not 'all'"),
        ({"epochs": -1}, "0 or more"),
        ({"sparsity": 0.0, "threshold": 1e9, "epochs": 0}, "nothing of body.0.weight is left"),
    ],
)
def test_settings_that_are_none_are_refused(knobs: dict, why: str, tmp_path: Path) -> None:
    source = conv_net(tmp_path / "source")
    with pytest.raises(BuildError, match=f"prune_weights: .*{why}"):
        PruneWeights(**knobs).apply(source, tmp_path / "result", context_for(source))


def test_models_that_it_cannot_treat_are_named(tmp_path: Path) -> None:
    nothing = weightless(tmp_path / "nothing")
    with pytest.raises(BuildError, match="prune_weights: Weightless has no weight of 64 values"):
        PruneWeights(epochs=0).apply(nothing, tmp_path / "result", context_for(nothing))
    broken = spoiled(tmp_path / "nan", lambda module: module.head.weight[0, 0].fill_(torch.nan))
    with pytest.raises(BuildError, match=r"prune_weights: head\.weight holds NaN"):
        PruneWeights(epochs=0).apply(broken, tmp_path / "result", context_for(broken))
    with pytest.raises(BuildError, match="prune_weights: it learns from the train split, which is empty"):
        PruneWeights().apply(broken, tmp_path / "result", context_for(broken))
    few, context = of("mlp", tmp_path)
    context = replace(context, train=context.train.take(torch.arange(9).numpy()))
    with pytest.raises(BuildError, match="prune_weights: training takes at least 20 items"):
        PruneWeights().apply(few, tmp_path / "result", context)
    odd = spoiled(tmp_path / "odd", lambda module: setattr(module, "body", nn.Sequential(nn.Conv2d(1, 32, 3), nn.Flatten())))
    with pytest.raises(BuildError, match="prune_weights: no layer of Odd has inputs that groups of 3:7 fill"):
        PruneWeights(sparsity=0.0, pattern="3:7", epochs=0).apply(_odd(odd), tmp_path / "result", context_for(odd))


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.flatten(1))


def _odd(pipeline: Pipeline) -> Pipeline:
    torch_form.save(Odd(), pipeline.directory)
    return pipeline


def test_it_is_proposed_where_bytes_are_limited_and_learns_where_it_can() -> None:
    profile = encoder_profile()
    assert "limits.artifact_bytes" in str(PruneWeights.propose(profile))
    limited = replace(profile, bytes_are_limited=True, num_train=0)
    assert [m.epochs for m in PruneWeights.propose(limited)] == [0]
    assert all(m.epochs for m in PruneWeights.propose(replace(limited, num_train=1000)))
