"""One item that waits for its answer, and how it is refused."""

import asyncio
import hashlib
from dataclasses import dataclass, field

from farthing.types import Array


class Refused(Exception):
    """Not served. `status`: 503 shed early, 504 its deadline passed, 422 quarantined, 500 the model failed on it."""

    def __init__(self, status: int, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


@dataclass(slots=True, eq=False, kw_only=True)
class Pending:
    """Times are `time.monotonic()`."""

    encoded: tuple[Array, ...]
    length: int
    arrived_s: float
    deadline_s: float
    priority: int
    foretold_s: float  # from its arrival until its batch starts; 0.0: not foretold
    answer: asyncio.Future[list[Array]] = field(repr=False)
    num_losses: int = 0  # replicas that were lost while they held it
    failed_on: str = ""  # the replica whose model failed on it alone

    @property
    def key(self) -> tuple[int, float, float]:
        return -self.priority, self.deadline_s, self.arrived_s

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(b"\0".join(part.dtype.str.encode() + part.tobytes() for part in self.encoded)).digest()

    def refuse(self, refusal: Refused) -> None:
        if not self.answer.done():
            self.answer.set_exception(refusal)

    def is_over(self, now: float) -> bool:
        """Nobody waits for it any more; refused if its deadline has passed."""
        if self.deadline_s <= now:
            self.refuse(Refused(504, f"its deadline passed after {now - self.arrived_s:.3g} s in the queue"))
        return self.answer.done()
