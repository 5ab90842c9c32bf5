"""What a request may be before anything of it is believed: keys, sizes, compression."""

import hashlib
import hmac
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farthing.errors import DataError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class TooLarge(ValueError):
    pass


class ClientGone(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    body_bytes: int = 16 * 2**20  # as sent, and again after decompression
    keys: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each key -> whose it is; empty: everybody may ask

    def tenant(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Who asks, by `Authorization: Bearer KEY` or `X-API-Key`; None: nobody we know. Takes as long for any wrong key."""
        if not self.keys:
            return ""
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"").removeprefix(b"Bearer ")
        digest = hashlib.sha256(given).hexdigest()
        found = None
        for known, name in self.keys.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limits: Limits) -> bytes:
    """Raises TooLarge, ClientGone, and ValueError for an encoding that is not known or not what it says."""
    if int(headers.get(b"content-length", b"0") or 0) > limits.body_bytes:
        raise TooLarge(f"the body may have {limits.body_bytes:,} bytes")
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limits.body_bytes:
            raise TooLarge(f"the body may have {limits.body_bytes:,} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return _inflated(b"".join(parts), headers.get(b"content-encoding", b"identity").decode("latin-1"), limits.body_bytes)


def read_keys(path: Path) -> dict[str, str]:
    """Lines `NAME SHA256`, as `farthing key NAME` prints them. Raises DataError naming the line, never its content."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, digest = line.strip().rpartition(" ")
        if not name or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise DataError(f"{path}, line {number}: expected a name, a space and the SHA-256 of a key (64 hex digits)")
        keys[digest] = name.strip()
    if not keys:
        raise DataError(f"{path} holds no key: with it nobody could ask. Leave --keys out, or add one")
    return keys


def _inflated(body: bytes, encoding: str, most_bytes: int) -> bytes:
    if encoding == "identity":
        return body
    if encoding not in ("gzip", "deflate"):
        raise ValueError(f"content-encoding {encoding!r} is not read: use gzip, deflate or none")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        whole = inflater.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"the body is not {encoding}: {error}") from error
    if len(whole) > most_bytes:
        raise TooLarge(f"the body may have {most_bytes:,} bytes, unpacked too")
    if not inflater.eof:
        raise ValueError(f"the body's {encoding} stream is cut short")
    return whole
