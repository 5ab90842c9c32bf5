"""One compilation serves every size."""

import torch

from farthing.pipeline import synthetic
from farthing.runtimes.torch_compile import TorchCompile

from .conftest import Made


def test_other_sizes_are_not_compiled_again(made: Made) -> None:
    pipeline = made("mlp", "torch")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    session = TorchCompile().open(pipeline, threads=1, streams=1)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert compiled == 2, "one for batches, one for single items"
    for batch_size in (2, 5, 8, 1):
        assert session.run(synthetic(pipeline, batch_size, 1))[0].shape == (batch_size, 5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled
