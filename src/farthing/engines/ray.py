"""Ray Serve: the same artifact on the machines of a Ray cluster, growing and shrinking by the plan's own figures."""

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farthing import artifact as artifacts
from farthing import pipeline as pipelines
from farthing.artifact import Artifact
from farthing.batching import BatchPolicy, BatchQueue
from farthing.engines.base import Address, Engine
from farthing.errors import DataError, FarthingError, JobError, MissingExtra
from farthing.sizing import Size, size
from farthing.types import Array, Deployment

APPLICATION = "farthing"
UPSCALE_S, DOWNSCALE_S = 10.0, 300.0
WARM_LENGTH = 8  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Ray(Engine):
    """Ray aims at replicas = ongoing requests / target_ongoing_requests; the target is Little's law (`farthing.sizing`).

    The artifact must lie under the same path on every machine; each replica checks its digests before it opens it.
    """

    address: str | None = None  # of a running cluster ("auto", ray://HOST:10001); None: one is started on this machine

    def serve(self, artifact: Artifact, address: Address, tell: Callable[[str], None]) -> None:
        try:
            import ray
            from ray import serve as ray_serve
        except ImportError as error:
            raise MissingExtra("ray", "ray") from error
        manifest = artifact.manifest
        measured = (*manifest.figures, manifest.speed)
        options = deployment_options(
            manifest.deployment, size(manifest.deployment, measured, manifest.cost, address.load), address.drain_s
        )
        ray.init(address=self.address, include_dashboard=False, configure_logging=False, ignore_reinit_error=True)
        stop = _told_to_stop()  # after Ray has set its own handlers, which abort
        try:
            _check_room(options, ray.cluster_resources())
            ray_serve.start(http_options={"host": address.host, "port": address.port})
            bound = ray_serve.deployment(Replica, **options).bind(str(artifact.directory.resolve()), manifest.pickled)
            ray_serve.run(bound, name=APPLICATION, route_prefix="/")
            tell(f"serving {manifest.job_name} on http://{address.host}:{address.port} by Ray, {_told(options)}")
            stop.wait()
        finally:
            ray_serve.shutdown()
            ray.shutdown()


def deployment_options(deployment: Deployment, sized: Size, drain_s: float) -> dict[str, Any]:
    """What `ray.serve.deployment` takes: from what was measured, by Little's law."""
    resources: dict[str, Any] = {
        "num_cpus": deployment.threads * deployment.streams,
        "memory": int(sized.model_bytes.value),
    }
    if deployment.build.device_kind == "cuda":
        resources["num_gpus"] = 1
    return {
        "name": "artifact",
        "ray_actor_options": resources,
        "max_ongoing_requests": sized.most_ongoing.value,
        "graceful_shutdown_timeout_s": drain_s,
        "autoscaling_config": {
            "min_replicas": sized.min_replicas.value,
            "initial_replicas": sized.min_replicas.value,
            "max_replicas": sized.max_replicas.value,
            "target_ongoing_requests": sized.ongoing.value,
            "upscale_delay_s": UPSCALE_S,
            "downscale_delay_s": DOWNSCALE_S,
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    encoded: tuple[Array, ...]
    answer: Future[Array] = field(default_factory=Future)


class Replica:
    """One replica in a process of Ray's: batches by the deployment's own policy, one thread for each stream.

    Not `serve.batch`, which knows no streams and no lengths: what runs is what was measured.
    """

    def __init__(self, directory: str, trust: bool) -> None:
        self._artifact = artifacts.load(Path(directory), trust=trust)
        deployment = self._artifact.manifest.deployment
        self._session = artifacts.open_session(self._artifact)
        self._session.run(pipelines.synthetic(self._artifact.pipeline, 1, WARM_LENGTH))
        policy = BatchPolicy(batch_size=deployment.batch_size, delay_s=deployment.batch_delay_s, bucketing=deployment.bucketing)
        self._queue: BatchQueue[Waiting] = BatchQueue(policy)
        self._running = ThreadPoolExecutor(deployment.streams)
        self._streams = [threading.Thread(target=self._stream, daemon=True) for _ in range(deployment.streams)]
        for stream in self._streams:
            stream.start()

    async def __call__(self, request: Any) -> Any:
        """One HTTP request (Starlette's) in, one response out; the routes are those of `farthing serve`."""
        from starlette.responses import JSONResponse

        status, told = await self.respond(request.method, request.url.path, await request.body())
        return JSONResponse(told, status)

    async def respond(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if method == "GET" and path in ("/healthz", "/readyz"):
            return 200, {"ready": True}
        if (method, path) != ("POST", "/v1/predict"):
            return 404, {"error": f"{method} {path}: no such route; ask POST /v1/predict"}
        try:
            asked = json.loads(body)
        except ValueError as error:
            return 400, {"error": f"the body is no JSON: {error}"}
        if isinstance(asked, dict) and asked.keys() == {"items"} and isinstance(asked["items"], list):
            answered = await asyncio.gather(*(self._one(item) for item in asked["items"]))
            return 200, {"answers": [told if status == 200 else {**told, "status": status} for status, told in answered]}
        return await self._one(asked)

    def check_health(self) -> None:
        """Ray replaces the replica when this raises."""
        if not all(stream.is_alive() for stream in self._streams):
            raise RuntimeError("a stream of this replica has ended")

    async def _one(self, item: Any) -> tuple[int, dict[str, Any]]:
        """A bad item fails alone: 422 before it meets others, or, if the model cannot run it, 500."""
        pipeline = self._artifact.pipeline
        try:
            (encoded,) = pipelines.encode(pipeline, [artifacts.request(item, pipeline, "the request")])
        except FarthingError as error:
            return 422, {"error": str(error)}
        waiting = Waiting(encoded=encoded)
        self._queue.put(waiting, pipelines.length(encoded, pipeline))
        await asyncio.wait([asyncio.wrap_future(waiting.answer)])
        if (reason := waiting.answer.exception()) is not None:
            return 500, {"error": f"the model cannot run this item: {reason}"}
        return 200, {"answer": waiting.answer.result().tolist()}

    def _stream(self) -> None:
        while batch := self._queue.take():
            self._answer([waiting for waiting in batch if waiting.answer.set_running_or_notify_cancel()])

    def _answer(self, batch: list[Waiting]) -> None:
        """A batch that fails is halved until the item that made it fail stands alone."""
        if not batch:
            return
        run = self._running.submit(self._rows, batch)
        if (error := run.exception()) is None:
            for waiting, row in zip(batch, run.result(), strict=True):
                waiting.answer.set_result(row)
        elif len(batch) == 1:
            batch[0].answer.set_exception(error)
        else:
            middle = len(batch) // 2
            self._answer(batch[:middle])
            self._answer(batch[middle:])

    def _rows(self, batch: list[Waiting]) -> Array:
        rows = self._session.run(pipelines.collate(self._artifact.pipeline, [waiting.encoded for waiting in batch]))[0]
        if len(rows) != len(batch):
            raise DataError(f"{len(batch)} items, {len(rows)} answers")
        return rows


def _told_to_stop() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _check_room(options: Mapping[str, Any], there: Mapping[str, float]) -> None:
    """Ray would wait for machines that may never come."""
    replicas = options["autoscaling_config"]["min_replicas"]
    for name, resource in (("num_cpus", "CPU"), ("num_gpus", "GPU"), ("memory", "memory")):
        needed, found = replicas * options["ray_actor_options"].get(name, 0), there.get(resource, 0.0)
        if needed > found:
            raise JobError(
                f"{replicas} replica(s) need {needed:g} {resource}, the cluster has {found:g}: "
                "add machines, or ask for a lower rate"
            )


def _told(options: Mapping[str, Any]) -> str:
    scaling = options["autoscaling_config"]
    return (
        f"{scaling['min_replicas']} to {scaling['max_replicas']} replicas at {scaling['target_ongoing_requests']:.3g} "
        "ongoing requests each"
    )
