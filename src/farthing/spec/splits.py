"""Seeded, disjoint splits: where an item goes depends on its own content and the seed, not on the items beside it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from farthing.errors import DataError
from farthing.spec.rows import Rows
from farthing.spec.schema import DataTable, near, shown
from farthing.types import Array, Column, Dataset, Splits

NAMES = ("train", "calibrate", "search", "verify")
SHARES = {"calibrate": 0.1, "search": 0.3, "verify": 0.6}  # by default; the certificate needs the most items
SHARES_BESIDE_VERIFY = {"calibrate": 0.25, "search": 0.75}  # where a table of its own is the verify split
LEAST_ITEMS = {"calibrate": 4, "search": 10, "verify": 20}  # with fewer, nothing can be said; a floor may need many more
LARGEST_LINKED = 0.25  # share of all pairs that chains of shared texts may tie together
DROPPED = -1

Keys = list[tuple[bytes, ...]]  # per row: digests of what ties it to other rows


def split(pool: Rows, verify: Rows | None, table: DataTable, *, seed: int) -> tuple[Splits, tuple[str, ...]]:
    """The splits, and notes on what was dropped or chosen on the way.

    Rows are tied by equal inputs, by their group and, in pairs, by a text in common; what is tied stays on one side. That
    side is where h(seed, least key of the tied rows), uniform in [0, 1), falls among the cumulative shares, h being sha256:
    new rows move old ones only if they tie them together. Where the person gave sides (a split column, a verify table),
    a row that is tied to one of a side nearer to verify is dropped.
    Raises DataError where a split has too few items or one class.
    """
    notes: list[str] = []
    if table.limit is not None and table.limit < len(pool.dataset):
        pool = pool.take(_sampled(_keys(pool), table.limit, seed))
    if pool.sides is not None:
        keys = _keys(pool)
        sides = _apart(keys, _given(pool.sides), taken=set(), notes=notes)
    else:
        keys = _tied_loosely(pool, notes)
        free = np.zeros(len(keys), dtype=np.int64)
        if verify is not None:
            free = _apart(keys, free, taken={key for row in _keys(verify) for key in row}, notes=notes)
        shares = table.splits or (SHARES if verify is None else SHARES_BESIDE_VERIFY)
        if table.splits is None:
            notes.append("splits by default: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
        sides = np.where(free == DROPPED, DROPPED, _hashed(_linked(keys), shares, seed))
    parts = {name: pool.dataset.take(np.flatnonzero(sides == side)) for side, name in enumerate(NAMES)}
    if verify is not None:
        parts["verify"] = verify.dataset
    _enough(parts, keys)
    return Splits(**parts), tuple(notes)


def _keys(rows: Rows, *, whole_pairs: bool = False) -> Keys:
    data = rows.dataset
    keys: Keys
    if data.pair and not whole_pairs:
        keys = [(_hash(_bytes(left)), _hash(_bytes(right))) for left, right in zip(*data.columns, strict=True)]
    else:
        keys = [(_hash(*(_bytes(value) for value in values)),) for values in zip(*data.columns, strict=True)]
    if rows.groups is None:
        return keys
    return [(*key, _hash(b"group", str(group).encode())) for key, group in zip(keys, rows.groups, strict=True)]


def _tied_loosely(rows: Rows, notes: list[str]) -> Keys:
    """The keys; of whole pairs where single texts would tie too many pairs together."""
    keys = _keys(rows)
    if not rows.dataset.pair:
        return keys
    largest = max(Counter(_linked(keys)).values()) / len(keys)
    if largest <= LARGEST_LINKED:
        return keys
    notes.append(
        f"texts in common tie {largest:.0%} of the pairs together, so only equal pairs are kept on one side;"
        " a single text may stand on two"
    )
    return _keys(rows, whole_pairs=True)


def _linked(keys: Keys) -> list[bytes]:
    """The least key of all rows that are tied to each row, directly or through others (union-find, the lesser key the root)."""
    parent: dict[bytes, bytes] = {}

    def root(key: bytes) -> bytes:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    for first, *others in keys:
        for other in others:
            low, high = sorted((root(first), root(other)))
            parent[high] = low
    return [root(row[0]) for row in keys]


def _hashed(links: Sequence[bytes], shares: dict[str, float], seed: int) -> Array:
    """(n,) the side, an index into NAMES, of each row."""
    cumulative = np.cumsum([shares.get(name, 0.0) for name in NAMES])
    return np.searchsorted(cumulative / cumulative[-1], _uniform(links, f"side {seed}"), side="right")


def _sampled(keys: Keys, limit: int, seed: int) -> Array:
    """(limit,) rows, in their order."""
    return np.sort(np.argsort(_uniform([row[0] for row in keys], f"limit {seed}"), kind="stable")[:limit])


def _uniform(keys: Iterable[bytes], salt: str) -> Array:
    """(n,) in [0, 1): the first 53 bits of h(salt, key)."""
    return np.array([int.from_bytes(_hash(salt.encode(), key)[:8]) >> 11 for key in keys], dtype=np.float64) / 2.0**53


def _given(column: Column) -> Array:
    """(n,) the side, an index into NAMES, that each row names."""
    for row, value in enumerate(column):
        if value not in NAMES:
            hint = near(str(value), NAMES)
            raise DataError(f"data, split column, row {row + 1} is {shown(value)}: expected one of {', '.join(NAMES)}.{hint}")
    return np.array([NAMES.index(value) for value in column])


def _apart(keys: Keys, sides: Array, *, taken: set[bytes], notes: list[str]) -> Array:
    """`sides`, with DROPPED for rows that share a key with `taken` or with a row of a later side."""
    sides = sides.copy()
    for side in reversed(range(len(NAMES))):
        rows = np.flatnonzero(sides == side)
        sides[[row for row in rows if not taken.isdisjoint(keys[row])]] = DROPPED
        taken = taken.union(*(keys[row] for row in rows))
    if num_dropped := int((sides == DROPPED).sum()):
        notes.append(
            f"{num_dropped} of {len(sides)} rows were dropped: an input or group of theirs is in a split nearer to verify"
        )
    return sides


def _enough(parts: dict[str, Dataset], keys: Keys) -> None:
    counts = ", ".join(f"{name} {len(part)}" for name, part in parts.items())
    for name, least in LEAST_ITEMS.items():
        part = parts[name]
        if len(part) < least:
            largest = max(Counter(_linked(keys)).values())
            tied = f" (up to {largest} rows are tied together by equal inputs or groups)" if largest > 1 else ""
            raise DataError(
                f"data: {name} needs at least {least} items, the splits are {counts}{tied}."
                " Bring more rows, or change the shares in [data] splits"
            )
        if part.labels is not None and name != "calibrate" and len(np.unique(part.labels)) == 1:
            same = f"data: all {len(part)} items of {name} have the label {shown(part.labels[0])}"
            raise DataError(
                f"{same}: with one class, no metric can tell models apart."
                f" Bring more rows of the other classes, or another seed (the splits are {counts})"
            )


def _bytes(value: object) -> bytes:
    """Of an input, independent of how wide its numbers were stored."""
    return value.encode() if isinstance(value, str) else np.asarray(value, dtype=np.float64).tobytes()


def _hash(*parts: bytes) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
