"""Answers kept in a Redis server: shared by machines; while it is away, everything is a miss."""

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from farthing.caches.base import Cache, Usage, digest
from farthing.errors import MissingExtra

ENTRY_BYTES = 700  # of the server's memory beside key and value: 460 to 680 were measured with values of 20 to 5,000 bytes

# Places are numbers that grow; scores of the queue. KEYS: the tenants by bytes, the counter of places, this tenant's queue.
PUT = """
local most, counter, prefix = KEYS[1], KEYS[2], ARGV[1]
local tenant, id, weight, capacity = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local function queue(t) return prefix .. 'q:' .. t end
local function entry(t, i) return prefix .. 'e:' .. t .. ':' .. i end
local function forget(t, i)
    local held = redis.call('HGET', prefix .. 'w:' .. t, i)
    redis.call('DEL', entry(t, i)); redis.call('ZREM', queue(t), i); redis.call('HDEL', prefix .. 'w:' .. t, i)
    if held then
        redis.call('INCRBY', prefix .. 'bytes', -held)
        if tonumber(redis.call('ZINCRBY', most, -held, t)) <= 0 then
            redis.call('ZREM', most, t); redis.call('HDEL', prefix .. 'hands', t)
        end
    end
end
if ARGV[8] == 'clear' then
    for _, i in ipairs(redis.call('ZRANGE', queue(tenant), 0, -1)) do forget(tenant, i) end
    return 0
end
forget(tenant, id)
local evicted = 0
while tonumber(redis.call('GET', prefix .. 'bytes') or '0') + weight > capacity do
    local t = redis.call('ZREVRANGE', most, 0, 0)[1]
    local hand = redis.call('HGET', prefix .. 'hands', t) or '0'
    while true do
        local found = redis.call('ZRANGEBYSCORE', queue(t), '(' .. hand, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
        if #found == 0 then
            hand = '0'
        else
            hand = found[2]
            local seen = redis.call('HGET', entry(t, found[1]), 's')
            if seen == '1' then
                redis.call('HSET', entry(t, found[1]), 's', '0')
            else
                redis.call('HSET', prefix .. 'hands', t, hand)
                forget(t, found[1])
                evicted = evicted + 1
                break
            end
        end
    end
end
redis.call('HSET', entry(tenant, id), 'k', ARGV[6], 'v', ARGV[7], 's', '0')
if ARGV[8] ~= '' then redis.call('PEXPIRE', entry(tenant, id), ARGV[8]) end
redis.call('ZADD', queue(tenant), redis.call('INCR', counter), id)
redis.call('HSET', prefix .. 'w:' .. tenant, id, weight)
redis.call('INCRBY', prefix .. 'bytes', weight)
redis.call('ZINCRBY', most, weight, tenant)
return evicted
"""
GET = """
local found = redis.call('HMGET', KEYS[1], 'k', 'v', 's')
if found[1] ~= ARGV[1] then return false end
if found[3] == '0' then redis.call('HSET', KEYS[1], 's', '1') end
return found[2]
"""


@dataclass(slots=True)
class _State:
    lock: threading.Lock = field(default_factory=threading.Lock)
    client: Any = None
    scripts: tuple[Any, Any] | None = None
    silent_until_s: float = 0.0
    evicted: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis(Cache):
    """A server that does not answer within `timeout_s` is left alone for `retry_s`: slower, never wrong, and that once.

    Reading and writing are one script each, so they are whole whatever others do. All keys of a cache carry one hash tag
    (`prefix`): on a Redis Cluster they lie on one node. An entry that ran out of time is counted until the hand comes by.
    """

    url: str = field(default="redis://127.0.0.1:6379/0", repr=False)  # may hold a password
    prefix: str = "farthing"
    capacity_bytes: int = 2**30
    timeout_s: float = 0.05
    retry_s: float = 1.0
    _state: _State = field(default_factory=_State, init=False, repr=False, compare=False)

    place: ClassVar[str | None] = "url"
    blocks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raises MissingExtra. A server that is away is no error: it may come back."""
        try:
            import redis
        except ImportError as error:
            raise MissingExtra("redis", "redis") from error
        waits = {"socket_timeout": self.timeout_s, "socket_connect_timeout": self.timeout_s}
        client = redis.Redis.from_url(self.url, retry=None, **waits)
        self._state.client = client
        self._state.scripts = (client.register_script(GET), client.register_script(PUT))

    def get(self, tenant: str, key: bytes) -> bytes | None:
        found = self._ask(0, [self._name(f"e:{tenant}:{digest(key).hex()}")], [key])
        return found if isinstance(found, bytes) else None

    def put(self, tenant: str, key: bytes, value: bytes, ttl_s: float) -> bool:
        weight = len(key) + len(value) + 2 * len(tenant.encode()) + ENTRY_BYTES
        if weight > self.capacity_bytes:
            return False
        expiry = str(max(1, round(ttl_s * 1e3))) if ttl_s < math.inf else ""
        evicted = self._put(tenant, digest(key).hex(), weight, (key, value, expiry))
        self._state.evicted += evicted or 0
        return evicted is not None

    def clear(self, tenant: str) -> None:
        self._put(tenant, "", 0, (b"", b"", "clear"))

    def usage(self) -> Usage:
        entries, size = self._count()
        return Usage(entries=entries, bytes=size, evicted=self._state.evicted, failures=self._state.failures)

    def close(self) -> None:
        self._state.client.close()

    def _put(self, tenant: str, name: str, weight: int, rest: tuple[bytes, bytes, str]) -> int | None:
        keys = [self._name("most"), self._name("places"), self._name(f"q:{tenant}")]
        answer = self._ask(1, keys, [self._name(""), tenant, name, weight, self.capacity_bytes, *rest])
        return None if answer is None else int(answer)

    def _count(self) -> tuple[int, int]:
        import redis

        try:
            tenants = self._state.client.zrange(self._name("most"), 0, -1)
            entries = sum(self._state.client.zcard(self._name("q:").encode() + tenant) for tenant in tenants)
            return entries, int(self._state.client.get(self._name("bytes")) or 0)
        except redis.RedisError:
            self._state.failures += 1
            return 0, 0

    def _ask(self, script: int, keys: list[str], arguments: list[Any]) -> Any:
        """What the script answers; None while the server is away."""
        import redis

        if time.monotonic() < self._state.silent_until_s:
            with self._state.lock:
                self._state.failures += 1
            return None
        assert self._state.scripts is not None
        try:
            return self._state.scripts[script](keys=keys, args=arguments)
        except redis.RedisError as error:
            with self._state.lock:
                self._state.failures += 1
                away = isinstance(error, redis.ConnectionError | redis.TimeoutError)
                self._state.silent_until_s = time.monotonic() + (self.retry_s if away else 0.0)
            return None

    def _name(self, rest: str) -> str:
        return f"{{{self.prefix}}}:{rest}"
