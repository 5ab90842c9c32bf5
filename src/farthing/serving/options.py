"""What may be chosen about a service; what makes no sense is refused before anything is opened."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from farthing import plugins
from farthing.errors import JobError
from farthing.routers.base import Router
from farthing.serving.recall import Caching

FRONTS = ("uvicorn", "granian")
MOST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    host: str = "127.0.0.1"
    port: int = 8000
    http: str = "uvicorn"  # what speaks HTTP, of FRONTS
    name: str | None = None  # of the model in its routes; default: the job's
    replicas: int | None = None  # default: the deployment's
    inline: bool = False  # the model in the process that answers HTTP
    router: str = "least_loaded"
    deadline_s: float = math.inf  # of requests without one of their own
    drain_s: float = 30.0
    most_waiting: int = 10_000
    max_rss_gib: float | None = None  # of one replica
    keys: Path | None = None
    body_mib: float = 16.0
    certificate: Path | None = None  # TLS
    private_key: Path | None = None
    trust: bool = False
    admin_port: int | None = None  # on this machine alone; None: versions cannot be changed
    admin_keys: Path | None = None
    caching: Caching = field(default_factory=Caching)
    state: Path | None = None  # what a restart goes on with

    def __post_init__(self) -> None:
        self._check_numbers()
        for one, other in (("certificate", "private_key"), ("admin_port", "admin_keys")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise JobError(f"{one} and {other} go together: give both, or neither")
        if self.state is not None and self.admin_port is None:
            raise JobError(f"state = {self.state}: without effect, since no version can be changed; give admin_port too")
        if self.inline and (self.replicas is not None or self.max_rss_gib is not None):
            raise JobError(
                "replicas and max_rss_gib: without effect where inline puts the model into this process; leave them out"
            )
        if self.http not in FRONTS:
            raise JobError(f"http = {self.http!r} is not one of {', '.join(FRONTS)}")
        if self.router not in plugins.names(Router):  # type: ignore[type-abstract]
            raise JobError(f"router = {self.router!r} is not one of {', '.join(plugins.names(Router))}")  # type: ignore[type-abstract]

    def _check_numbers(self) -> None:
        for name in ("drain_s", "body_mib", "most_waiting", "deadline_s"):
            if not getattr(self, name) > 0:
                raise JobError(f"{name} = {getattr(self, name)} must be positive")
        if self.replicas is not None and self.replicas < 1:
            raise JobError(f"replicas = {self.replicas}: at least one is needed")
        for name in ("port", "admin_port"):
            if not 0 <= (getattr(self, name) or 0) <= MOST_PORT:
                raise JobError(f"{name} = {getattr(self, name)}: expected 0 (any that is free) to {MOST_PORT}")
