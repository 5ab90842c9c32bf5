"""Every cache keeps the laws of the set."""

import itertools
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from farthing import plugins
from farthing.caches.base import Cache
from farthing.testing import caches

NUMBERS = itertools.count()


def make(name: str, capacity_bytes: int, tmp_path: Path, request: pytest.FixtureRequest) -> Cache:
    kind = plugins.load(Cache, name)
    number = next(NUMBERS)
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    knobs: dict[str, Any] = {"capacity_bytes": capacity_bytes}
    if "path" in fields:
        knobs["path"] = tmp_path / f"{number}.sqlite"
    if "url" in fields:
        port = request.getfixturevalue("redis_port")
        knobs |= {"url": f"redis://127.0.0.1:{port}/0", "prefix": f"test{number}", "timeout_s": 5.0}
    return kind(**knobs)


@pytest.mark.parametrize("name", plugins.names(Cache))
def test_contract(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    caches.check_cache(lambda capacity_bytes: make(name, capacity_bytes, tmp_path, request))


@pytest.mark.parametrize("name", plugins.names(Cache))
def test_a_digest_never_vouches_for_a_key(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make(name, 100_000, tmp_path, request)
    module = sys.modules[type(cache).__module__]
    monkeypatch.setattr(module, "digest", lambda key: b"all the same....", raising=False)
    cache.put("a", b"one", b"1", math.inf)
    assert cache.get("a", b"two") is None
    cache.put("a", b"two", b"2", math.inf)
    assert cache.get("a", b"one") in (None, b"1") and cache.get("a", b"two") == b"2"
    cache.close()
