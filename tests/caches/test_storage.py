"""What only some caches can suffer: a killed writer, a torn file, a full disk, a server that goes away."""

import math
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from farthing.caches.disk import Disk
from farthing.caches.memory import Memory
from farthing.errors import StoreError


def test_disk_survives_a_killed_writer(tmp_path):
    """Ten times: what the last put was told was kept is there, bit by bit, and the books add up."""
    path = tmp_path / "cache.sqlite"
    for repeat in range(10):
        script = Path(__file__).parent / "killed_writer.py"
        writer = subprocess.Popen([sys.executable, str(script), str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        for _ in range(60 + 17 * repeat):
            line = writer.stdout.readline()
        writer.kill()
        last = int((line + writer.stdout.read()).split()[-1])
        writer.stdout.close()
        writer.wait()
        cache = Disk(path=path, capacity_bytes=200_000)
        assert cache.get("a", b"%d" % last) == b"%d" % last * 50
        query = "SELECT COUNT(*), SUM(weight) FROM entries"
        counted = cache._connection().execute(query).fetchone()
        assert counted == (cache.usage().entries, cache.usage().bytes) and counted[1] <= 200_000
        cache.close()


def test_disk_keeps_what_another_process_may_read(tmp_path):
    one, two = Disk(path=tmp_path / "cache.sqlite"), Disk(path=tmp_path / "cache.sqlite")
    one.put("a", b"key", b"value", math.inf)
    assert two.get("a", b"key") == b"value"
    one.close()
    two.close()


def test_disk_file_stays_near_its_cap(tmp_path):
    path = tmp_path / "cache.sqlite"
    cache = Disk(path=path, capacity_bytes=2_000_000)
    for number in range(6_000):
        cache.put("a", b"%d" % number, b"v" * (200 + 13 * (number % 97)), math.inf)
    cache.close()
    assert path.stat().st_size <= 1.2 * 2_000_000


def test_disk_refuses_a_file_that_is_no_cache(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, no database; " * 100)
    with pytest.raises(StoreError, match=r"notes.txt cannot serve as a cache .*delete it or name another path"):
        Disk(path=path)
    assert path.read_text().startswith("these are notes")
    with pytest.raises(StoreError, match="cannot serve as a cache"):
        Disk(path=tmp_path / "missing" / "cache.sqlite")


def test_full_disk_is_a_refusal_and_counted(tmp_path):
    cache = Disk(path=tmp_path / "cache.sqlite")
    cache.put("a", b"before", b"value", math.inf)
    (pages,) = cache._connection().execute("PRAGMA page_count").fetchone()
    cache._connection().execute(f"PRAGMA max_page_count = {pages}")  # SQLite then answers as it does on a full disk
    assert not cache.put("a", b"large", b"v" * 100_000, math.inf)
    assert cache.usage().failures == 1 and cache.usage().entries == 1
    assert cache.get("a", b"before") == b"value"
    cache.close()


def test_memory_counts_what_it_takes():
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    cache = Memory(capacity_bytes=4_000_000)
    for number in range(20_000):
        cache.put("a", b"key of some length %d" % number, b"v" * (100 + number % 300), math.inf)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 0.7 * cache.usage().bytes <= taken <= cache.usage().bytes


def test_redis_away_is_a_miss_and_does_not_wait_each_time(start_redis, port):
    from farthing.caches.redis import Redis

    server = start_redis(port)
    cache = Redis(url=f"redis://127.0.0.1:{port}/0", timeout_s=0.5, retry_s=0.2)
    assert cache.put("a", b"key", b"value", math.inf) and cache.get("a", b"key") == b"value"
    server.kill()
    server.wait()
    started_s = time.monotonic()
    assert all(cache.get("a", b"key") is None and not cache.put("a", b"key", b"value", math.inf) for _ in range(50))
    assert time.monotonic() - started_s < 2.0
    assert cache.usage().failures >= 100
    server = start_redis(port)
    time.sleep(0.25)
    assert cache.put("a", b"key", b"again", math.inf) and cache.get("a", b"key") == b"again"
    server.kill()
    server.wait()
    cache.close()


def test_redis_that_hangs_is_left_alone(start_redis, port):
    from farthing.caches.redis import Redis

    server = start_redis(port)
    cache = Redis(url=f"redis://127.0.0.1:{port}/0", timeout_s=0.1, retry_s=30.0)
    cache.put("a", b"key", b"value", math.inf)
    server.send_signal(signal.SIGSTOP)
    started_s = time.monotonic()
    assert all(cache.get("a", b"key") is None for _ in range(20))
    assert time.monotonic() - started_s < 1.0
    server.kill()
    server.wait()
    cache.close()


def test_redis_password_is_not_shown():
    pytest.importorskip("redis")
    from farthing.caches.redis import Redis

    assert "secret" not in repr(Redis(url="redis://:secret@127.0.0.1:1/0"))
