"""Answers kept in one SQLite file: shared by the processes of a machine, still there after a crash."""

import math
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from farthing.caches.base import Cache, Usage, digest
from farthing.errors import StoreError

ENTRY_BYTES = 160  # of the file beside key, value and tenant: record headers, two indexes, free space on pages; measured
WAIT_S = 2.0  # for another process that is writing; after that, it is a miss
SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    place INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, digest BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
    expires_s REAL NOT NULL, visited INTEGER NOT NULL DEFAULT 0, weight INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS by_digest ON entries (tenant, digest);
CREATE INDEX IF NOT EXISTS by_place ON entries (tenant, place);
CREATE TABLE IF NOT EXISTS tenants (
    tenant TEXT PRIMARY KEY, bytes INTEGER NOT NULL, entries INTEGER NOT NULL, hand INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
"""

Result = TypeVar("Result")


@dataclass(slots=True)
class _State:
    local: threading.local = field(default_factory=threading.local)
    lock: threading.Lock = field(default_factory=threading.Lock)
    connections: list[sqlite3.Connection] = field(default_factory=list)
    evicted: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk(Cache):
    """A write is in the journal (WAL) before `put` returns, so a killed process loses nothing that it was told was kept.

    A loss of power may take the last writes, never the file (synchronous=NORMAL). Seconds are those of the wall clock, as
    processes come and go. The file may be larger than `capacity_bytes` by its journal, about 4 MiB.
    """

    path: Path | str
    capacity_bytes: int = 2**30
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    place: ClassVar[str | None] = "path"
    blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raises StoreError for a file that is no cache, or a folder that cannot be written."""
        try:
            self._connection().executescript(SCHEMA)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise StoreError(f"{self.path} cannot serve as a cache ({error}): delete it or name another path") from error

    def get(self, tenant: str, key: bytes) -> bytes | None:
        return self._guarded(lambda connection: _read(connection, tenant, key), None)

    def put(self, tenant: str, key: bytes, value: bytes, ttl_s: float) -> bool:
        weight = len(key) + len(value) + 2 * len(tenant.encode()) + ENTRY_BYTES
        if weight > self.capacity_bytes:
            return False
        expires_s = time.time() + ttl_s if ttl_s < math.inf else 1e18

        def write(connection: sqlite3.Connection) -> bool:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                if (old := _find(connection, tenant, key)) is not None:
                    _delete(connection, tenant, old)
                self._make_room(connection, weight)
                connection.execute(
                    "INSERT INTO entries (tenant, digest, key, value, expires_s, weight) VALUES (?, ?, ?, ?, ?, ?)",
                    (tenant, digest(key), key, value, expires_s, weight),
                )
                connection.execute(
                    "INSERT INTO tenants (tenant, bytes, entries) VALUES (?, ?, 1) ON CONFLICT (tenant)"
                    " DO UPDATE SET bytes = bytes + excluded.bytes, entries = entries + 1",
                    (tenant, weight),
                )
            return True

        return self._guarded(write, False)

    def clear(self, tenant: str) -> None:
        def wipe(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("DELETE FROM entries WHERE tenant = ?", (tenant,))
                connection.execute("DELETE FROM tenants WHERE tenant = ?", (tenant,))

        self._guarded(wipe, None)

    def usage(self) -> Usage:
        query = "SELECT TOTAL(entries), TOTAL(bytes) FROM tenants"
        entries, size = self._guarded(lambda connection: connection.execute(query).fetchone(), (0, 0))
        return Usage(entries=int(entries), bytes=int(size), evicted=self._state.evicted, failures=self._state.failures)

    def close(self) -> None:
        with self._state.lock:
            for connection in self._state.connections:
                connection.close()
            self._state.connections.clear()
            self._state.local = threading.local()

    def _make_room(self, connection: sqlite3.Connection, weight: int) -> None:
        (size,) = connection.execute("SELECT TOTAL(bytes) FROM tenants").fetchone()
        while size + weight > self.capacity_bytes:
            size -= _sieve(connection)
            self._state.evicted += 1

    def _guarded(self, work: Callable[[sqlite3.Connection], Result], otherwise: Result) -> Result:
        """A full disk, a lock held too long, a torn file: as if nothing were there, and counted."""
        try:
            return work(self._connection())
        except sqlite3.Error:
            self._state.failures += 1
            return otherwise

    def _connection(self) -> sqlite3.Connection:
        """One for each thread: SQLite serializes writers by itself."""
        found: sqlite3.Connection | None = getattr(self._state.local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            with self._state.lock:
                self._state.connections.append(found)
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = NORMAL")
            self._state.local.connection = found
        return found


def _find(connection: sqlite3.Connection, tenant: str, key: bytes) -> int | None:
    query = "SELECT place FROM entries WHERE tenant = ? AND digest = ? AND key = ?"
    row = connection.execute(query, (tenant, digest(key), key)).fetchone()
    return None if row is None else int(row[0])


def _read(connection: sqlite3.Connection, tenant: str, key: bytes) -> bytes | None:
    query = "SELECT place, value, expires_s, visited FROM entries WHERE tenant = ? AND digest = ? AND key = ?"
    row = connection.execute(query, (tenant, digest(key), key)).fetchone()
    if row is None:
        return None
    place, value, expires_s, visited = row
    if expires_s <= time.time():
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            _delete(connection, tenant, place)
        return None
    if not visited:
        connection.execute("UPDATE entries SET visited = 1 WHERE place = ?", (place,))
    return bytes(value)


def _delete(connection: sqlite3.Connection, tenant: str, place: int) -> int:
    """Bytes set free; 0 where another process was faster."""
    row = connection.execute("DELETE FROM entries WHERE place = ? RETURNING weight", (place,)).fetchone()
    weight = 0 if row is None else int(row[0])
    if row is not None:
        connection.execute("UPDATE tenants SET bytes = bytes - ?, entries = entries - 1 WHERE tenant = ?", (weight, tenant))
        connection.execute("DELETE FROM tenants WHERE tenant = ? AND entries = 0", (tenant,))
    return weight


def _sieve(connection: sqlite3.Connection) -> int:
    """One entry of the tenant with the most bytes leaves; the hand stands in that tenant's row."""
    tenant, hand = connection.execute("SELECT tenant, hand FROM tenants ORDER BY bytes DESC LIMIT 1").fetchone()
    query = "SELECT place, visited FROM entries WHERE tenant = ? AND place > ? ORDER BY place LIMIT 1"
    while True:
        row = connection.execute(query, (tenant, hand)).fetchone()
        if row is None:
            hand = 0
            continue
        hand, visited = row
        if not visited:
            break
        connection.execute("UPDATE entries SET visited = 0 WHERE place = ?", (hand,))
    connection.execute("UPDATE tenants SET hand = ? WHERE tenant = ?", (hand, tenant))
    return _delete(connection, tenant, hand)
