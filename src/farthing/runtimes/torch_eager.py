"""Runtime: PyTorch as it is, operator by operator, without gradients. The original's own runtime and the usual baseline."""

from dataclasses import dataclass
from typing import ClassVar

from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchEager(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"torch"})
    devices: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu", "cuda"})
    native: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs_torch: ClassVar[bool] = True

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        from farthing.forms import torch_form

        module = torch_form.load(pipeline).to(torch_form.device(device_kind))
        return torch_form.TorchSession(module, pipeline.inputs, threads=threads, device_kind=device_kind)

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import pathlib, pickle, torch
model = pickle.loads(pathlib.Path({pipeline.file!r}).read_bytes()).eval()
with torch.inference_mode():
    answer = model(*(torch.from_numpy(feeds[name]) for name in {[spec.name for spec in pipeline.inputs]!r}))
outputs = [value.float().numpy() for value in (answer if isinstance(answer, tuple) else (answer,))]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
