"""Small originals on disk, written where a test asks for them, and ceilings that do not depend on the test machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from farthing import pipeline as pipelines
from farthing.diagnosis.ceilings import num_cores
from farthing.results import Device
from farthing.types import Pipeline, TensorSpec


@pytest.fixture
def device() -> Device:
    return Device(
        name="a machine",
        kind="cpu",
        num_cores=num_cores(),
        memory_bytes=8e9,
        flops_per_s={"float32": 1e11, "bfloat16": 5e11, "int8": 1e12},
        bytes_per_s=1e10,
    )


@pytest.fixture
def torch_original(tmp_path: Path) -> Callable[..., Pipeline]:
    """(module, shape of its one input, dtype) -> its pipeline."""

    def write(module: Any, shape: tuple[int | str, ...], dtype: str = "float32") -> Pipeline:
        from farthing.forms import torch_form

        return pipelines.write(
            Pipeline(
                directory=tmp_path,
                form="torch",
                file=torch_form.save(module.eval(), tmp_path),
                inputs=(TensorSpec(name="input_ids", dtype=dtype, shape=shape),),
                outputs=(TensorSpec(name="answer", dtype="float32", shape=("batch", "size")),),
                traits=frozenset({"float_weights"}),
                pickled=True,
            )
        )

    return write


@pytest.fixture
def text_original(tmp_path: Path, torch_original: Callable[..., Pipeline]) -> Callable[..., Pipeline]:
    """(hidden, num_layers, max_length) -> word embeddings through square layers, averaged over the words "0" to "99"."""

    def write(*, hidden: int, num_layers: int, max_length: int) -> Pipeline:
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers

        class Text(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.words = torch.nn.Embedding(101, hidden)
                self.layers = torch.nn.Sequential(*(torch.nn.Linear(hidden, hidden) for _ in range(num_layers)))

            def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
                return self.layers(self.words(input_ids)).mean(1)

        tokenizer = Tokenizer(models.WordLevel({"?": 0, **{str(i): i + 1 for i in range(100)}}, unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        plain = torch_original(Text(), ("batch", "length"), "int64")
        return pipelines.write(replace(plain, tokenizer="tokenizer.json", max_length=max_length))

    return write
