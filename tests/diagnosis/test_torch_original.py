"""The timeline of a torch module: every kernel, its FLOPs and bytes, whatever the module's own style."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from farthing.diagnosis.roofline import Call
from farthing.diagnosis.torch_original import TorchOriginal
from farthing.errors import ModelError
from farthing.types import Pipeline

Timeline = Callable[[nn.Module, np.ndarray], tuple[Call, ...]]


@pytest.fixture
def timeline(torch_original: Callable[..., Pipeline]) -> Timeline:
    def trace(module: nn.Module, feed: np.ndarray) -> tuple[Call, ...]:
        original = TorchOriginal(torch_original(module, ("batch", *feed.shape[1:]), str(feed.dtype)), "cpu")
        original.run({"input_ids": feed}, threads=1)
        original.trace({"input_ids": feed}, threads=1)
        original.trace({"input_ids": feed}, threads=1)
        return original.timeline()

    return trace


def of_kind(calls: tuple[Call, ...], kind: str) -> list[Call]:
    return [call for call in calls if call.kind == kind]


def test_flops_bytes_and_counts_of_a_perceptron(timeline: Timeline) -> None:
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), nn.LayerNorm(16), nn.Softmax(-1))
    calls = timeline(module, np.ones((4, 16), np.float32))
    (linear,) = of_kind(calls, "linear")
    assert (linear.count, linear.flops) == (2, 2 * 2 * 4 * 16 * 16)
    assert linear.bytes == 2 * 4 * (16 + 4 * 16 + 16 * 16 + 4 * 16)  # bias, input, weight, output
    assert linear.name == "addmm 4x16, 16x16 -> 4x16"
    assert {call.kind for call in calls} == {"linear", "view", "elementwise", "norm", "softmax"}
    assert all(call.seconds >= 0 and call.dtype == "float32" for call in calls)


def test_einsum_and_attention_are_opened(timeline: Timeline) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = nn.functional.scaled_dot_product_attention(x, x, x)
            return torch.einsum("bhld,bhmd->bhlm", x, y)

    calls = timeline(Attention(), np.ones((2, 3, 5, 8), np.float32))
    assert sum(call.flops for call in of_kind(calls, "attention")) == 2 * 2 * 3 * 5 * 5 * (8 + 8)
    assert sum(call.flops for call in of_kind(calls, "matmul")) == 2 * 2 * 3 * 5 * 5 * 8


def test_convolutions(timeline: Timeline) -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, groups=1), nn.ConvTranspose2d(8, 2, 3), nn.MaxPool2d(2))
    calls = timeline(module, np.ones((2, 3, 8, 8), np.float32))
    assert [call.flops for call in of_kind(calls, "conv")] == [2 * 2 * 8 * 36 * 3 * 9]
    assert [call.flops for call in of_kind(calls, "conv_transpose")] == [2 * 2 * 8 * 36 * 2 * 9]
    assert of_kind(calls, "pool")


def test_an_embedding_moves_only_the_rows_it_looks_up(timeline: Timeline) -> None:
    calls = timeline(nn.Embedding(10_000, 8), np.ones((1, 4), np.int64))
    (embedding,) = of_kind(calls, "embedding")
    assert embedding.bytes == 2 * 4 * 8 * 4
    assert embedding.flops == 0


def test_the_cost_of_tracing_is_taken_off_each_call(timeline: Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farthing.diagnosis.torch_original._instrument_s", lambda finish: 1e9)
    assert {call.seconds for call in timeline(nn.ReLU(), np.ones((4, 16), np.float32))} == {0.0}


def test_a_folder_without_a_module_says_what_to_do(torch_original: Callable[..., Pipeline]) -> None:
    pipeline = torch_original(nn.ReLU(), ("batch", 2))
    pipeline.path.write_bytes(b"no pickle")
    with pytest.raises(ModelError, match="Snapshot the model again"):
        TorchOriginal(pipeline, "cpu")
