"""A module whose launches on a GPU are recorded once for each shape and replayed as one; torch is imported late by members."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.forms.few_shapes import FewShapes, fewer_rows
from farthing.types import Array, Feeds, Pipeline

MOST_GRAPHS = 512  # each keeps its inputs and its nodes, some MB in all; further shapes run without
WARM_CALLS = 2  # before a recording: what libraries set up at their first call must not be recorded

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    graph: Any
    inputs: tuple[torch.Tensor, ...]
    outputs: tuple[torch.Tensor, ...]


class GraphSession:
    """`call`, on the GPU under inference mode. One replay at a time: graphs share the memory between their operators."""

    def __init__(self, call: Any, pipeline: Pipeline) -> None:
        self._call, self._inputs = call, pipeline.inputs
        self._shapes = FewShapes(pipeline)
        self._graphs: dict[Shapes, Recorded] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._one = threading.Lock()

    def run(self, feeds: Feeds) -> list[Array]:
        num_items = len(next(iter(feeds.values())))
        wide = self._shapes.padded(feeds)
        tensors = torch_form.tensors(
            {name: _repeated(value, fewer_rows(num_items)) for name, value in wide.items()}, self._inputs
        )
        with self._one, torch.inference_mode():
            outputs = torch_form.arrays(self._answers(tensors))
        return self._shapes.cut([value[:num_items] for value in outputs], feeds)

    def close(self) -> None:
        self._graphs.clear()

    def _answers(self, tensors: tuple[torch.Tensor, ...]) -> Any:
        shapes = tuple(tuple(t.shape) for t in tensors)
        if shapes not in self._graphs:
            if len(self._graphs) >= MOST_GRAPHS:
                return self._call(*(t.cuda() for t in tensors))
            self._graphs[shapes] = self._recorded(tensors)
        found = self._graphs[shapes]
        for place, value in zip(found.inputs, tensors, strict=True):
            place.copy_(value)
        found.graph.replay()
        return found.outputs

    def _recorded(self, tensors: tuple[torch.Tensor, ...]) -> Recorded:
        inputs = tuple(t.cuda() for t in tensors)
        aside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        try:
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_CALLS):
                    self._call(*inputs)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                outputs = self._call(*inputs)
        except RuntimeError as error:
            raise BuildError(
                f"its launches cannot be recorded ({error}): a forward that looks at values, moves them to the processor or "
                "changes its shapes by them has no fixed sequence of launches. Use torch_eager or torch_compile."
            ) from error
        return Recorded(graph, inputs, tuple(outputs) if isinstance(outputs, tuple | list) else (outputs,))


def _repeated(value: Array, num_rows: int) -> Array:
    """The last row again and again: numbers that the model has met, whose answers are cut off."""
    missing = num_rows - len(value)
    return np.concatenate([value, np.repeat(value[-1:], missing, axis=0)]) if missing else value
