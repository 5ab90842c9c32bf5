"""The HTTP application (ASGI): every route, and what each refusal looks like."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.errors import FarthingError
from farthing.serving import binary, open_inference, wire
from farthing.serving.hang_ups import Watch
from farthing.serving.limits import ClientGone, Limits, Receive, TooLarge, read_body
from farthing.serving.metrics import Metrics
from farthing.serving.scheduler import Refused
from farthing.serving.version import Request, Version
from farthing.serving.versions import Versions
from farthing.types import Array

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
STALLED_S = 60.0  # work pending and nothing finished for so long: not alive
OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"})  # asked without a key


@dataclass(slots=True, kw_only=True)
class Service:
    """What the routes speak to."""

    name: str
    versions: Versions
    metrics: Metrics
    limits: Limits
    deadline_s: float = math.inf  # of requests that bring none
    stopping: bool = False

    @property
    def version(self) -> Version:
        return self.versions.stable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        path, method = scope["path"], scope["method"]
        try:
            if path not in OPEN and self.limits.tenant(headers) is None:
                raise Refused(401, "a key is needed: Authorization: Bearer KEY, or X-API-Key")
            status, body, more = await self._routed(method, path, headers, receive)
        except ClientGone:
            self.metrics.gone()
            return
        except Refused as refusal:
            status, body, more = _told(refusal)
        except TooLarge as error:
            status, body, more = _told(Refused(413, str(error)))
        except (ValueError, FarthingError) as error:
            status, body, more = _told(Refused(400, str(error)))
        self.metrics.answered(path, status)
        if status in (429, 503):
            self.version.receipt.num_shed += 1
        await _send(send, status, body, more)

    async def _routed(
        self, method: str, path: str, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, dict[str, str]]:
        if method == "POST" and path == "/v1/predict":
            return await self._predict(headers, receive)
        name = f"/v2/models/{self.name}"
        if method == "POST" and path == f"{name}/infer":
            return await self._infer(headers, receive)
        for version in self.versions.open:
            if method == "POST" and path == f"{name}/versions/{version.name}/infer":
                return await self._infer(headers, receive, version)
        if method not in ("GET", "HEAD"):
            raise Refused(405 if path in self._pages() or path == "/v1/predict" else 404, f"{method} {path}: no such route")
        page = self._pages().get(path)
        if page is None:
            raise Refused(
                405 if path == "/v1/predict" else 404, f"GET {path}: no such route; GET /v1/models tells what is served"
            )
        return page()

    def _pages(self) -> dict[str, Callable[[], tuple[int, bytes, dict[str, str]]]]:
        described = open_inference.metadata(
            self.name,
            self.version.name,
            f"farthing_{self.version.artifact.manifest.deployment.build.runtime.name}",
            self.version.artifact.pipeline,
        )
        model = f"/v2/models/{self.name}"
        pages: dict[str, Callable[[], tuple[int, bytes, dict[str, str]]]] = {
            "/healthz": self._live,
            "/readyz": self._ready,
            "/metrics": lambda: (200, self.metrics.page(self), {"content-type": "text/plain; version=0.0.4; charset=utf-8"}),
            "/v1/models": lambda: _json(200, {"models": [self._model(version) for version in self.versions.open]}),
            "/v1/receipt": lambda: _json(200, self.version.receipt.facts()),
            "/v1/learned": lambda: _json(200, self.version.learned()),
            "/openapi.json": lambda: _json(200, openapi(self)),
            "/v2": lambda: _json(
                200,
                {"name": "farthing", "version": self.version.artifact.manifest.farthing, "extensions": ["binary_tensor_data"]},
            ),
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            model: lambda: _json(200, described),
            f"{model}/ready": self._ready,
        }
        for version in self.versions.open:
            pages[f"{model}/versions/{version.name}"] = lambda: _json(200, described)
            pages[f"{model}/versions/{version.name}/ready"] = self._ready
        return pages

    # ------------------------------------------------------------ state

    def _live(self) -> tuple[int, bytes, dict[str, str]]:
        stalled_s = self.version.scheduler.stalled_s()
        if stalled_s > STALLED_S:
            return _json(503, {"live": False, "why": f"work is pending and nothing was finished for {stalled_s:.0f} s"})
        return _json(200, {"live": True})

    def _ready(self) -> tuple[int, bytes, dict[str, str]]:
        replicas = {replica.name: replica.state for replica in self.version.pool.replicas}
        ready = not self.stopping and bool(self.version.pool.ready)
        return _json(200 if ready else 503, {"ready": ready, "name": self.name, "replicas": replicas})

    def _model(self, version: Version) -> dict[str, Any]:
        manifest = version.artifact.manifest
        return {
            "name": self.name,
            "version": version.name,
            "runtime": str(manifest.deployment.build.runtime),
            "recipe": [str(step) for step in manifest.deployment.build.recipe],
            "deployment": str(manifest.deployment),
            "floors": [f"{c.metric}: {c.verdict}, falls by at most {c.upper_bound:.3g}" for c in manifest.certificates],
            "predicted_usd_per_million": version.receipt.predicted_usd_per_million,
            "ready": bool(version.pool.ready),
        }

    # ------------------------------------------------------------ answering

    async def _predict(self, headers: Mapping[bytes, bytes], receive: Receive) -> tuple[int, bytes, dict[str, str]]:
        content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        asked = wire.asked(await read_body(headers, receive, self.limits), content_type, self.version.artifact.pipeline)
        results = await self._answers(asked.items, headers, receive)
        if not asked.many:
            (result,) = results
            if isinstance(result, Refused):
                raise result
            return _json(200, {"answer": wire.answer(result, self.version.artifact.pipeline)})
        if content_type in (wire.NPY, wire.ARROW):
            rows = [_or_raise(result) for result in results]
            body = wire.npy(rows) if content_type == wire.NPY else wire.arrow(rows, self.version.artifact.pipeline)
            return 200, body, {"content-type": content_type}
        refused = [result for result in results if isinstance(result, Refused)]
        if len(refused) == len(results):
            raise refused[0]
        return _json(200, {"answers": [self._one(result) for result in results]})

    async def _infer(
        self, headers: Mapping[bytes, bytes], receive: Receive, version: Version | None = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """By the version that was named, or by whichever is to answer."""
        body = binary.split(await read_body(headers, receive, self.limits), headers)
        items = open_inference.requests(body, self.version.artifact.pipeline)
        rows = [_or_raise(result) for result in await self._answers(items, headers, receive, version)]
        by = version or (self.version if self.versions.rollout is None else None)  # None: it may have been either
        told = open_inference.response(self.name, by.name if by else None, body.get("id"), rows, self.version.artifact.pipeline)
        as_bytes = {
            spec.name: np.stack([row[i] for row in rows])
            for i, spec in enumerate(self.version.artifact.pipeline.outputs)
            if binary.wanted(body, spec.name)
        }
        return (200, *binary.joined(told, as_bytes)) if as_bytes else _json(200, told)

    async def _answers(
        self, items: Any, headers: Mapping[bytes, bytes], receive: Receive, version: Version | None = None
    ) -> list[list[Array] | Refused]:
        """All items at once; if the client hangs up meanwhile, their places are free again. Raises ClientGone."""
        request = Request(
            tenant=self.limits.tenant(headers) or "",
            deadline_s=_number(headers, b"x-deadline-ms", self.deadline_s * 1e3) / 1e3,
            priority=int(_number(headers, b"x-priority", 0)),
            sticky=headers.get(b"x-sticky-key", b"").decode("latin-1") or str(random.random()),
        )
        answer = self.versions.answer if version is None else version.answer
        with Watch(receive):
            if len(items) == 1:
                return [await _answered(answer, items[0], request)]
            return await asyncio.gather(*(_answered(answer, item, request) for item in items))

    def _one(self, result: list[Array] | Refused) -> dict[str, Any]:
        if isinstance(result, Refused):
            return {"error": result.reason, "status": result.status}
        return {"answer": wire.answer(result, self.version.artifact.pipeline)}


def openapi(service: Service) -> dict[str, Any]:
    """An OpenAPI 3.1 document of this very model."""
    text = service.version.artifact.pipeline.tokenizer is not None
    one = {"type": "string"} if text else {"description": 'the model\'s input as nested lists, or {"inputs": [...]}'}
    many = {"type": "object", "properties": {"items": {"type": "array", "items": one}}, "required": ["items"]}
    replies = {
        "200": {
            "description": 'one item: {"answer": ...}; many: {"answers": [{"answer": ...} or {"error": ..., "status": ...}]}'
        },
        "400": {"description": "the body cannot be read"},
        "422": {"description": "the item is not what the model takes, or made it fail before"},
        "503": {"description": "shed: it would miss its deadline; Retry-After says when to come back"},
        "504": {"description": "its deadline passed"},
    }
    header = {"in": "header", "required": False, "schema": {"type": "number"}}
    predict = {
        "summary": "answers of the model",
        "parameters": [{"name": "X-Deadline-Ms", **header}, {"name": "X-Priority", **header}],
        "requestBody": {
            "required": True,
            "content": {wire.JSON: {"schema": {"anyOf": [one, many]}}, wire.NPY: {}, wire.ARROW: {}},
        },
        "responses": replies,
    }
    pages = {path: {"get": {"responses": {"200": {"description": "ok"}}}} for path in service._pages()}
    info = {"title": service.name, "version": service.version.name}
    return {"openapi": "3.1.0", "info": info, "paths": {"/v1/predict": {"post": predict}, **pages}}


async def _answered(
    answer: Callable[[tuple[Any, ...], Request], Awaitable[list[Array]]], item: tuple[Any, ...] | str, request: Request
) -> list[Array] | Refused:
    if isinstance(item, str):
        return Refused(422, item)
    try:
        return await answer(item, request)
    except Refused as refusal:
        return refusal


def _or_raise(result: list[Array] | Refused) -> list[Array]:
    if isinstance(result, Refused):
        raise result
    return result


def _number(headers: Mapping[bytes, bytes], name: bytes, default: float) -> float:
    """Raises ValueError for what is no finite number."""
    given = headers.get(name)
    if given is None:
        return default
    value = float(given)
    if not math.isfinite(value):
        raise ValueError(f"{name.decode()}: {given.decode('latin-1')} is not a finite number")
    return value


def _told(refusal: Refused) -> tuple[int, bytes, dict[str, str]]:
    status, body, more = _json(refusal.status, {"error": refusal.reason})
    if refusal.retry_after_s is not None:
        more["retry-after"] = str(max(1, math.ceil(refusal.retry_after_s)))
    if status == 401:
        more["www-authenticate"] = "Bearer"
    return status, body, more


def _json(status: int, value: Any) -> tuple[int, bytes, dict[str, str]]:
    return status, wire.encoded(value), {"content-type": wire.JSON}


async def _send(send: Send, status: int, body: bytes, more: Mapping[str, str]) -> None:
    headers = [(b"content-length", b"%d" % len(body)), *((name.encode(), value.encode()) for name, value in more.items())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
