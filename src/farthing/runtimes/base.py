"""The contract of a runtime: what executes a model of some form on some kind of device."""

import time
from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from farthing import pipeline as pipelines
from farthing.results import Profile
from farthing.types import Array, Feeds, Pipeline

WARM_LENGTH = 32


class Session(Protocol):
    """An opened model. `run` may be called from as many threads at once as it was opened with streams."""

    def run(self, feeds: Feeds) -> list[Array]:
        """One array per `pipeline.outputs`, first axis the batch, float16/bfloat16 widened to float32."""
        ...

    def close(self) -> None: ...


class Runtime(ABC):
    """A frozen dataclass; its fields are its knobs.

    Laws (checked over every member by `farthing.testing.runtimes`):
    - a row's answer does not depend on the rows beside it (beyond float noise).
    - `streams` concurrent calls give the answers that sequential calls give.
    - `snippet` is executable as it stands and gives the same answers as `run`.
    """

    accepts: ClassVar[frozenset[str]]  # forms, in order of preference irrelevant
    devices: ClassVar[frozenset[str]] = frozenset({"cpu"})  # kinds of device that it can open a model on
    run_on: ClassVar[frozenset[str]]  # kinds of device on which this member has been run and measured by its authors
    native: ClassVar[frozenset[str]] = frozenset()  # forms that people run on it as they are: the named baseline
    needs_torch: ClassVar[bool] = False
    length_step: ClassVar[int] = 1  # it pads to multiples of it, and its first run at each of them takes longer
    most_warm_s: ClassVar[float] = 2.0  # that such first runs may delay the moment when it is ready

    @abstractmethod
    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        """Load and compile. `threads` per stream. Raises BuildError, MissingExtra."""

    def uses_torch(self, pipeline: Pipeline) -> bool:
        """Whether this pipeline runs only where torch is installed."""
        return self.needs_torch

    @abstractmethod
    def snippet(self, pipeline: Pipeline) -> str:
        """About five lines of plain code of the runtime's own API that load the model and run `feeds` into `outputs`."""

    @abstractmethod
    def predicted_speedup(self, profile: Profile) -> float:
        """Guess of time(torch eager) / time(this runtime) at equal precision; orders the search, proves nothing."""


def warm(session: Session, pipeline: Pipeline, runtime: Runtime, most_items: int) -> None:
    """One item and one full batch; where each new shape takes longer, as many as `most_warm_s` allows: no request waits."""
    longest = pipeline.max_length or WARM_LENGTH
    step = runtime.length_step
    lengths = range(step, longest + 1, step) if step > 1 and pipelines.varies(pipeline) else ()
    started = time.perf_counter()
    for batch_size in dict.fromkeys((1, most_items, *(range(2, most_items) if lengths else ()))):
        session.run(pipelines.synthetic(pipeline, batch_size, min(WARM_LENGTH, longest)))
        for length in lengths:
            if time.perf_counter() - started > runtime.most_warm_s:
                return
            session.run(pipelines.synthetic(pipeline, batch_size, length))


def amdahl(profile: Profile, *, kernels: float, overhead: float) -> float:
    """1 / sum(share / gain): time between operators shrinks by `overhead`, time inside them by `kernels`."""
    total_s = sum(op.seconds for op in profile.ops)
    share = sum(op.seconds for op in profile.ops if op.bound == "overhead") / total_s if total_s else 0.0
    return 1.0 / ((1.0 - share) / kernels + share / overhead)
