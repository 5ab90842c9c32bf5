"""Outputs that are refused: not finite, not of the promised shape, not of one shape."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import WrongOutput
from farthing.forms import torch_form
from farthing.transform.verify import verify
from farthing.types import Array, Build, Context, Feeds, MemberRef, Pipeline, TensorSpec

from .conftest import WIDTH, Product, described

BUILD = Build(recipe=(), runtime=MemberRef(name="engine"))


class Answering:
    def __init__(self, answer: Callable[[Array], Array]) -> None:
        self.answer = answer

    def run(self, feeds: Feeds) -> list[Array]:
        return [self.answer(feeds["x"])]

    def close(self) -> None:
        pass


def look(monkeypatch: pytest.MonkeyPatch, context: Context, answer: Callable[[Array], Array], *shape: int | str) -> None:
    """Verify a pipeline whose runtime answers so, and whose description promises `shape`."""
    monkeypatch.setattr(Product, "open", lambda *_, **__: Answering(answer))
    pipeline = replace(described(Path(), "graph", ""), outputs=(TensorSpec(name="y", dtype="float32", shape=shape),))
    verify(pipeline, BUILD, context)


def test_what_is_as_described_passes(monkeypatch: pytest.MonkeyPatch, context: Context) -> None:
    look(monkeypatch, context, lambda x: x, "batch", WIDTH)
    look(monkeypatch, context, lambda x: x, "batch", "features")
    look(monkeypatch, context, lambda x: np.array(["label"] * len(x)), "batch")


@pytest.mark.parametrize(
    ("answer", "shape", "reason"),
    [
        (lambda x: np.where(x > 0, x, np.nan), ("batch", WIDTH), r"'y' holds NaN or infinity, first in row 0 of a batch of 1"),
        (lambda x: x[:, :2], ("batch", WIDTH), r"'y' has shape \(1, 2\), the original gives \(1, 3\)"),
        (lambda x: x.mean(0, keepdims=True), ("batch", WIDTH), r"'y' has shape \(1, 3\), the original gives \(3, 3\)"),
        (lambda x: x[:, : len(x)], ("batch", "features"), r"'y' has shape \(3, 3\), the original gives \(3, 1\)"),
        (lambda x: x[:, None], ("batch", WIDTH), r"'y' has shape \(1, 1, 3\), the original gives \('batch', 3\)"),
    ],
    ids=["nan", "another size", "one answer a batch", "a size that varies", "another number of axes"],
)
def test_what_is_not_is_refused(
    answer: Callable[[Array], Array],
    shape: tuple[int | str, ...],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    context: Context,
) -> None:
    with pytest.raises(WrongOutput, match=reason):
        look(monkeypatch, context, answer, *shape)


def test_a_module_is_run_without_its_runtime(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Product, "open")
    good, bad = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
    nn.init.constant_(bad.weight, torch.nan)
    for module in (good, bad):
        module.eval()
    verify(_written(good, tmp_path / "good"), BUILD, context)
    with pytest.raises(WrongOutput, match="holds NaN"):
        verify(_written(bad, tmp_path / "bad"), BUILD, context)


def _written(module: nn.Module, directory: Path) -> Pipeline:
    directory.mkdir()
    return described(directory, "torch", torch_form.save(module, directory))
