"""Runtime: PyTorch compiled by Inductor when it is opened, with the weights frozen into the code."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

from farthing.errors import BuildError
from farthing.pipeline import synthetic, varies
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session, amdahl
from farthing.types import Pipeline

NUM_SHAPES = 64  # compilations before an error: beyond its own limit torch would fall back to eager without a word


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchCompile(Runtime):
    """Needs a C++ compiler. `dynamic`: one compilation for all shapes, one more for single items; else one for each shape.

    Opening compiles for a batch and for a single item; what other shapes cost falls to the first call that has them.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    devices: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    needs_torch: ClassVar[bool] = True
    dynamic: bool = True

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        from farthing.forms import torch_form

        module = torch_form.load(pipeline).to(torch_form.device(device_kind))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch's own, of modules that Inductor imports
            compiled = torch_form.compiled(module, dynamic=self.dynamic, num_shapes=NUM_SHAPES)
            session = torch_form.TorchSession(compiled, pipeline.inputs, threads=threads, device_kind=device_kind)
            try:
                for batch_size in (3, 1):
                    session.run(synthetic(pipeline, batch_size, 7 if varies(pipeline) else 1))
            except RuntimeError as error:
                raise BuildError(f"Inductor cannot compile {type(module).__name__}: {error}") from error
        return session

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import pathlib, pickle, torch
module = pickle.loads(pathlib.Path({pipeline.file!r}).read_bytes()).eval()
model = torch.compile(module, dynamic={self.dynamic}, options={{"freezing": True}})
with torch.inference_mode():
    answer = model(*(torch.from_numpy(feeds[name]) for name in {[spec.name for spec in pipeline.inputs]!r}))
outputs = [value.float().numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return amdahl(profile, kernels=1.05, overhead=2.0)
