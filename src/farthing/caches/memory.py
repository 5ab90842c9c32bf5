"""Answers kept in this process: the fastest, gone when it ends."""

import math
import threading
import time
from dataclasses import dataclass, field
from typing import ClassVar

from farthing.caches.base import Cache, Usage

ENTRY_BYTES = 360  # what Python keeps beside key and value: node, dict slot, object headers; a test measures it


class _Node:
    """One entry in its tenant's queue; `newer` leads towards the newest."""

    __slots__ = ("expires_s", "key", "newer", "older", "value", "visited")

    def __init__(self, key: bytes, value: bytes, expires_s: float) -> None:
        self.key, self.value, self.expires_s = key, value, expires_s
        self.visited = False
        self.older: _Node | None = None
        self.newer: _Node | None = None


class _Tenant:
    """The queue of one tenant, its ends, the hand, and what it weighs."""

    __slots__ = ("bytes", "hand", "newest", "nodes", "oldest")

    def __init__(self) -> None:
        self.nodes: dict[bytes, _Node] = {}
        self.oldest: _Node | None = None
        self.newest: _Node | None = None
        self.hand: _Node | None = None
        self.bytes = 0

    def add(self, node: _Node) -> None:
        self.nodes[node.key] = node
        node.older = self.newest
        if self.newest is not None:
            self.newest.newer = node
        self.newest = node
        self.oldest = self.oldest or node
        self.bytes += _weight(node.key, node.value)

    def remove(self, node: _Node) -> None:
        del self.nodes[node.key]
        if node.older is not None:
            node.older.newer = node.newer
        if node.newer is not None:
            node.newer.older = node.older
        self.oldest = node.newer if self.oldest is node else self.oldest
        self.newest = node.older if self.newest is node else self.newest
        self.hand = node.newer if self.hand is node else self.hand
        self.bytes -= _weight(node.key, node.value)

    def sieve(self) -> None:
        """The hand spares who was visited, once, and takes the first who was not; from the newest it goes on at the oldest."""
        node = self.hand or self.oldest
        assert node is not None
        while node.visited:
            node.visited = False
            node = node.newer or self.oldest
            assert node is not None
        self.hand = node
        self.remove(node)


@dataclass(slots=True)
class _State:
    lock: threading.Lock = field(default_factory=threading.Lock)
    tenants: dict[str, _Tenant] = field(default_factory=dict)
    bytes: int = 0
    evicted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(Cache):
    capacity_bytes: int = 256 * 2**20
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    place: ClassVar[str | None] = None
    blocks: ClassVar[bool] = False

    def get(self, tenant: str, key: bytes) -> bytes | None:
        with self._state.lock:
            holder = self._state.tenants.get(tenant)
            node = None if holder is None else holder.nodes.get(key)
            if holder is None or node is None:
                return None
            if node.expires_s <= time.monotonic():
                self._remove(tenant, holder, node)
                return None
            node.visited = True
            return node.value

    def put(self, tenant: str, key: bytes, value: bytes, ttl_s: float) -> bool:
        weight = _weight(key, value)
        if weight > self.capacity_bytes:
            return False
        expires_s = time.monotonic() + ttl_s if ttl_s < math.inf else math.inf
        with self._state.lock:
            holder = self._state.tenants.get(tenant)
            if holder is not None and (old := holder.nodes.get(key)) is not None:
                self._remove(tenant, holder, old)
            while self._state.bytes + weight > self.capacity_bytes:
                self._evict()
            self._state.tenants.setdefault(tenant, _Tenant()).add(_Node(key, value, expires_s))
            self._state.bytes += weight
        return True

    def clear(self, tenant: str) -> None:
        with self._state.lock:
            holder = self._state.tenants.pop(tenant, None)
            self._state.bytes -= holder.bytes if holder else 0

    def usage(self) -> Usage:
        with self._state.lock:
            entries = sum(len(holder.nodes) for holder in self._state.tenants.values())
            return Usage(entries=entries, bytes=self._state.bytes, evicted=self._state.evicted, failures=0)

    def close(self) -> None:
        with self._state.lock:
            self._state.tenants.clear()
            self._state.bytes = 0

    def _evict(self) -> None:
        tenant, holder = max(self._state.tenants.items(), key=lambda item: item[1].bytes)
        before = holder.bytes
        holder.sieve()
        self._state.bytes -= before - holder.bytes
        self._state.evicted += 1
        if not holder.nodes:
            del self._state.tenants[tenant]

    def _remove(self, tenant: str, holder: _Tenant, node: _Node) -> None:
        holder.remove(node)
        self._state.bytes -= _weight(node.key, node.value)
        if not holder.nodes:
            del self._state.tenants[tenant]


def _weight(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
