"""The laws of a cache, as checks that any member, yours too, can be put through."""

import math
import threading
import time
from collections.abc import Callable

from farthing.caches.base import Cache

CAPACITY_BYTES = 64_000
VALUE = b"v" * 1_000

Make = Callable[[int], Cache]  # capacity in bytes -> a new, empty cache


def check_cache(make: Make) -> None:
    """Every law; AssertionError for the first that is broken."""
    for check in (check_bytes, check_tenants, check_ttl, check_capacity, check_sieve, check_flood, check_threads):
        cache = make(CAPACITY_BYTES)
        try:
            check(cache)
        finally:
            cache.close()
            cache.close()


def check_bytes(cache: Cache) -> None:
    """What was put last, bit by bit, under that key alone."""
    assert cache.get("a", b"key") is None, "a new cache holds something"
    everything = bytes(range(256))
    for value in (b"", b"\0", everything):
        assert cache.put("a", b"key\0" + value, value, math.inf)
        assert cache.get("a", b"key\0" + value) == value
    assert cache.put("a", b"key\0", b"second", math.inf) and cache.get("a", b"key\0") == b"second"
    assert cache.get("a", b"key") is None and cache.get("a", b"key\0\0\0") is None, "a key that was never put"
    assert cache.usage().entries == 3 and cache.usage().evicted == 0


def check_tenants(cache: Cache) -> None:
    """One never sees what another has, whatever their names."""
    cache.put("a", b"b:key", b"of a", math.inf)
    cache.put("", b"a:key", b"of none", math.inf)
    assert [cache.get(tenant, b"b:key") for tenant in ("a", "", "b", "a:b")] == [b"of a", None, None, None]
    assert cache.get("a:b", b"key") is None
    cache.clear("a")
    assert cache.get("a", b"b:key") is None and cache.get("", b"a:key") == b"of none"
    cache.clear("")
    assert (cache.usage().entries, cache.usage().bytes) == (0, 0)


def check_ttl(cache: Cache) -> None:
    """Given until its time is over, not after; and put anew it lives anew."""
    cache.put("a", b"short", VALUE, 0.25)
    cache.put("a", b"long", VALUE, 60.0)
    assert cache.get("a", b"short") == VALUE
    time.sleep(0.3)
    assert cache.get("a", b"short") is None and cache.get("a", b"long") == VALUE
    cache.put("a", b"short", VALUE, 60.0)
    assert cache.get("a", b"short") == VALUE


def check_capacity(cache: Cache) -> None:
    """Never above the cap, and not half empty either; replacing counts once; what is too large is refused, not fatal."""
    for i in range(200):
        assert cache.put("a", b"%d" % i, VALUE, math.inf)
        assert cache.usage().bytes <= CAPACITY_BYTES, f"{cache.usage().bytes} bytes where {CAPACITY_BYTES} are allowed"
    usage = cache.usage()
    assert usage.bytes > 0.9 * CAPACITY_BYTES and usage.entries + usage.evicted == 200
    assert cache.get("a", b"199") == VALUE
    for _ in range(5):
        cache.put("a", b"199", VALUE, math.inf)
    assert cache.usage().entries == usage.entries, "an entry put again counts twice"
    assert not cache.put("a", b"whale", b"v" * CAPACITY_BYTES, math.inf)
    assert cache.get("a", b"whale") is None and cache.get("a", b"199") == VALUE


def check_sieve(cache: Cache) -> None:
    """Ten that are asked for again and again outlive two hundred that pass by once."""
    popular = [b"popular %d" % i for i in range(10)]
    for key in popular:
        cache.put("a", key, VALUE, math.inf)
    for i in range(200):
        cache.put("a", b"once %d" % i, VALUE, math.inf)
        kept = [cache.get("a", key) for key in popular]
        assert all(value == VALUE for value in kept), f"pushed out by what nobody asked for again, after {i}"


def check_flood(cache: Cache) -> None:
    """A tenant that holds little loses nothing while another floods the cache."""
    for i in range(10):
        cache.put("small", b"%d" % i, VALUE, math.inf)
    for i in range(200):
        cache.put("flood", b"%d" % i, VALUE, math.inf)
    assert all(cache.get("small", b"%d" % i) == VALUE for i in range(10))


def check_threads(cache: Cache) -> None:
    """From eight threads at once: no exception, no mixture, and the books still add up."""
    wrong: list[str] = []

    def work(number: int) -> None:
        for i in range(60):
            key = b"%d" % ((i * 7 + number) % 90)
            cache.put("a", key, key * 100, math.inf)
            found = cache.get("a", key)
            if found not in (None, key * 100):
                wrong.append(f"{key!r} gave {found!r:.40}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    assert cache.usage().failures == 0 and cache.usage().bytes <= CAPACITY_BYTES
    cache.clear("a")
    assert (cache.usage().entries, cache.usage().bytes) == (0, 0), "the books do not add up"
