"""Runtime: scikit-learn itself, with its native and joblib threads limited to those of the deployment."""

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

from farthing.errors import BuildError
from farthing.forms import sklearn_form
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Feeds, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Sklearn(Runtime):
    accepts: ClassVar[frozenset[str]] = frozenset({"sklearn"})
    run_on: ClassVar[frozenset[str]] = frozenset({"cpu"})
    native: ClassVar[frozenset[str]] = frozenset({"sklearn"})

    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        if device_kind != "cpu":
            raise BuildError(f"scikit-learn runs on cpu, not on {device_kind!r}")
        estimator = sklearn_form.load(pipeline)
        jobs = [name for name in estimator.get_params() if name.rpartition("__")[2] == "n_jobs"]
        return _SklearnSession(estimator.set_params(**dict.fromkeys(jobs, threads)), threads)

    def snippet(self, pipeline: Pipeline) -> str:
        return f"""\
import skops.io
model = skops.io.load({pipeline.file!r}, trusted=skops.io.get_untrusted_types(file={pipeline.file!r}))
method = next(name for name in {list(sklearn_form.ANSWERS)!r} if hasattr(model, name))
answer = getattr(model, method)(feeds[{pipeline.inputs[0].name!r}])
outputs = answer if isinstance(answer, list) else [answer]
"""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0


class _SklearnSession:
    def __init__(self, estimator: Any, threads: int) -> None:
        from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

        self._estimator, self._threads, self._pools = estimator, threads, ThreadpoolController()
        self._seen = threading.local()

    def run(self, feeds: Feeds) -> list[Array]:
        if not hasattr(self._seen, "limit"):  # OpenMP counts threads per calling thread
            self._seen.limit = self._pools.limit(limits=self._threads)
        return sklearn_form.ask(self._estimator, feeds)

    def close(self) -> None:
        del self._estimator
