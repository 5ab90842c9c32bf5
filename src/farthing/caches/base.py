"""The contract of a cache: bytes by key, each tenant's apart, for a time, within so many bytes."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    entries: int
    bytes: int  # of keys, values and what keeps them; never above the cache's `capacity_bytes`
    evicted: int  # entries that had to leave for others since the cache was opened by this process
    failures: int  # reads and writes that the storage refused; each was answered as if nothing were there


class Cache(ABC):
    """A frozen dataclass; its fields are its knobs, and it is open from the moment it is made. Any thread may call it.

    Keys are compared whole: a digest may find an entry, it never vouches for it.

    Who leaves when it is full: SIEVE (Zhang et al., NSDI 2024). New entries queue up; a hand walks from the oldest to
    the newest, spares once whoever was asked for since it last came by, and takes the first that was not. It misses no more
    than LRU on skewed traffic, and a hit changes at most one bit: no list to reorder under a lock, one write at most to a
    file or a server. All misses of one model cost about the same, so price is no part of it. The hand walks through the
    entries of the tenant who holds the most bytes: a flood pushes out itself.

    Laws (checked over every member by `farthing.testing.caches`):
    - `get` gives exactly the bytes last put under that tenant and key, or None; also when digests of keys collide.
    - nothing is given once its `ttl_s` is over.
    - `usage().bytes <= capacity_bytes` after every put; what alone is larger is refused.
    - what was asked for again outlives what was not; a tenant below an equal share loses nothing to another's flood.
    - storage that fails is a miss and a refusal, counted, never an exception.
    """

    place: ClassVar[str | None]  # the knob that says where entries lie; None: in this process
    blocks: ClassVar[bool]  # whether a call waits for a disk or a network: an event loop then calls it in a thread

    @abstractmethod
    def get(self, tenant: str, key: bytes) -> bytes | None:
        """The value, or None where there is none (any more)."""

    @abstractmethod
    def put(self, tenant: str, key: bytes, value: bytes, ttl_s: float) -> bool:
        """Keep `value` for `ttl_s` seconds (inf: until it is pushed out); False where it was refused."""

    @abstractmethod
    def clear(self, tenant: str) -> None:
        """Forget all that this tenant has."""

    @abstractmethod
    def usage(self) -> Usage: ...

    @abstractmethod
    def close(self) -> None:
        """Give back files and connections. Closing twice is allowed; using it afterwards is not."""


def digest(key: bytes) -> bytes:
    """16 bytes by which a key is found."""
    return hashlib.blake2b(key, digest_size=16).digest()
