"""The admin routes, on an address of their own: what is served, and bringing another version in."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farthing import artifact
from farthing.artifact import Artifact
from farthing.calibration.budget import differs_by
from farthing.errors import FarthingError, JobError
from farthing.serving.limits import ClientGone, Limits, Receive, read_body
from farthing.serving.plan import Plan
from farthing.serving.versions import Differs, Versions

BODY_BYTES = 65_536
LEAST_COSINE = 0.99  # of two answers that count as one, where the floor's metric does not compare two answers
Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Admin:
    """An ASGI application: GET /admin/versions, POST /admin/{rollout,promote,rollback}. Keys are its own."""

    versions: Versions
    keys: Mapping[str, str]
    trust: bool

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        limits = Limits(body_bytes=BODY_BYTES, keys=self.keys)
        try:
            if limits.tenant(headers) is None:
                status, told = 401, {"error": "a key is needed: Authorization: Bearer KEY, or X-API-Key"}
            else:
                status, told = await self._routed(scope["method"], scope["path"], await read_body(headers, receive, limits))
        except ClientGone:
            return
        except (FarthingError, ValueError) as error:
            status, told = 409 if isinstance(error, JobError) else 400, {"error": str(error)}
        body = json.dumps(told).encode()
        length = (b"content-length", str(len(body)).encode())
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json"), length]}
        )
        await send({"type": "http.response.body", "body": body})

    async def _routed(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if (method, path) == ("GET", "/admin/versions"):
            return 200, self._facts()
        if (method, path) == ("POST", "/admin/rollout"):
            await self._begin(_asked(body))
        elif (method, path) == ("POST", "/admin/promote"):
            self.versions.promote(_reason(body))
        elif (method, path) == ("POST", "/admin/rollback"):
            self.versions.roll_back(_reason(body))
        else:
            return 404, {"error": f"{method} {path}: GET /admin/versions, POST /admin/rollout, /admin/promote, /admin/rollback"}
        return 200, self._facts()

    def _facts(self) -> dict[str, Any]:
        versions = self.versions
        return {
            "stable": {"version": versions.stable.name, "artifact": str(versions.stable.artifact.directory)},
            "rollout": None if versions.rollout is None else versions.rollout.facts(),
            "history": versions.history,
        }

    async def _begin(self, asked: dict[str, Any]) -> None:
        directory = asked.pop("artifact", None)
        if not isinstance(directory, str) or not directory:
            raise JobError(f"artifact = {directory!r}: the folder of an artifact is needed")
        plan = Plan.asked(asked)
        loaded = await asyncio.to_thread(artifact.load, Path(directory), trust=self.trust)
        await self.versions.begin(loaded, plan, comparison(loaded))


def comparison(candidate: Artifact) -> Differs:
    """When two answers differ: in the sense of the first floor whose metric can tell; else by the cosine of the two."""
    for floor in candidate.manifest.floors:
        try:
            return differs_by(floor.metric, floor.max_drop or 0.0)
        except FarthingError:
            continue
    return differs_by("cosine", 1.0 - LEAST_COSINE)


def _asked(body: bytes) -> dict[str, Any]:
    asked = json.loads(body or b"null")
    if not isinstance(asked, dict):
        raise JobError('an object is expected, such as {"artifact": "runs/new/artifact", "mode": "canary", "share": 0.05}')
    return asked


def _reason(body: bytes) -> str:
    reason = (_asked(body) if body else {}).get("reason", "asked for")
    return str(reason)[:500]
