"""The contract of an engine: it carries the replicas of an artifact and answers HTTP for them, until it is told to stop."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from farthing.artifact import Artifact
from farthing.errors import JobError
from farthing.sizing import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where it answers, how long it may take to finish what is under way, and what it must carry."""

    host: str = "127.0.0.1"
    port: int = 8000
    drain_s: float = 30.0
    load: Load = field(default_factory=Load)

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise JobError(f"port = {self.port} is none: 1 to 65535")
        if not 0.0 < self.drain_s < 3600.0:
            raise JobError(f"drain_s = {self.drain_s:g} must be positive and below an hour")


class Engine(ABC):
    """A frozen dataclass; its fields are its knobs.

    Laws:
    - POST /v1/predict answers what `artifact.predict` answers, item by item; a bad item fails alone.
    - GET /readyz is 200 only when replicas are loaded and warm.
    - on SIGTERM or SIGINT what is under way is finished, then `serve` returns and nothing is left running that it started.
    """

    @abstractmethod
    def serve(self, artifact: Artifact, address: Address, tell: Callable[[str], None]) -> None:
        """Blocks until told to stop. Raises MissingExtra, BuildError, JobError for a load that the place cannot carry."""
