"""Runtime: PyTorch on a GPU, the launches of each shape recorded once as a CUDA graph and replayed."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.errors import BuildError
from farthing.forms.few_shapes import LENGTH_STEP
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session, amdahl
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaGraphs(Runtime):
    """Pays where a batch is so small that the processor cannot launch kernels as fast as the GPU ends them.

    Lengths are padded to multiples of LENGTH_STEP and batches to four sizes an octave, so that few graphs are recorded
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). Only a forward with a fixed sequence of launches can be.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    devices: ClassVar[frozenset[str]] = frozenset({"cuda"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cuda"})
    needs_torch: ClassVar[bool] = True
    length_step: ClassVar[int] = LENGTH_STEP
    most_warm_s: ClassVar[float] = 15.0  # a recording takes tens of milliseconds

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cuda") -> Session:
        from farthing.forms import cuda_graph, torch_form

        if device_kind != "cuda":
            raise BuildError(f"the runtime cuda_graphs runs on cuda, not on {device_kind!r}: use torch_compile there")
        return cuda_graph.GraphSession(torch_form.load(pipeline).to(torch_form.device(device_kind)), pipeline)

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import pathlib, pickle, torch
module = pickle.loads(pathlib.Path({pipeline.file!r}).read_bytes()).eval().cuda()
inputs = [torch.from_numpy(feeds[name]).cuda() for name in {[spec.name for spec in pipeline.inputs]!r}]
graph = torch.cuda.CUDAGraph()
with torch.inference_mode():
    module(*inputs)
    with torch.cuda.graph(graph):
        answer = module(*inputs)
graph.replay()  # again for other values of this shape, copied into `inputs`
outputs = [value.float().cpu().numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, kernels=1.0, overhead=5.0)
