"""Codes of weights as a stream of a range coder, adaptive by row and column. NumPy and `constriction` only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from farthing.errors import MissingExtra
from farthing.types import Array

CHUNK, MOST_CHUNKS = 256, 512  # codes, at least, between two looks at what was seen; looks at a large table
HEADER = 3  # bytes of each table: the commonest code, the largest, the setting
ONE = 1 << 16  # in fixed point: sums of floats depend on the order in which a processor takes them
LEAST_SHARE, MOST_SHARE = 1.0 / (1 << 14), 1.0 - 1.0 / (1 << 14)
MANTISSA_BITS = 2  # of a row's count of codes that are not zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the next code is guessed from those before it; the encoder takes the setting that comes out smallest."""

    transposed: bool
    exact: bool  # rows tell their count to a quarter of an octave, not to an octave
    strength: float  # how many expected events the neighbourhood of a column counts for
    window: int  # columns on either side that are its neighbourhood


SETTINGS = tuple(
    Setting(transposed=transposed, exact=exact, strength=strength, window=window)
    for transposed in (False, True)
    for exact in (False, True)
    for strength in (1.0, 3.0)
    for window in (1, 3, 12)
)
QUICK = tuple(number for number, s in enumerate(SETTINGS) if s.exact and s.strength == 1.0 and s.window == 3)
MOST_TRIED = 500_000  # codes: of a larger table the QUICK settings are tried, on its first rows


def encode(tables: Sequence[Array]) -> bytes:
    """Tables (rows, columns) of uint8, from which `decode` makes equal ones.

    Of each table: the commonest code, called empty; of each row how many codes are not empty, to an octave or a quarter of
    one, by a table that adapts; then, row by row, whether each code is empty, with p = row's share x column's rate, where the
    rate is what the rows before have shown: (n_j + s m_j) / (e + s), n_j codes told of e expected, m_j the mean rate of the
    columns around; then the values of those that are told, by counts of the values before. No table is sent: what a table
    costs, adapting costs less.
    """
    writer, header = _Writer(), bytearray()
    for table in tables:
        if table.size:
            counts = np.bincount(table.ravel(), minlength=256)
            empty, most = int(counts.argmax()), int(np.flatnonzero(counts)[-1])
            best = _smallest(table, empty, most)
            header += bytes([empty, most, best])
            _run(writer, _turned(table, best), empty, most, SETTINGS[best])
    return bytes(header) + writer.stream()


def decode(stream: bytes, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """The tables, of these shapes. The stream must be whole: nothing in it tells."""
    told = sum(rows * columns > 0 for rows, columns in shapes)
    facts, reader = iter(stream[: HEADER * told]), _Reader(stream[HEADER * told :])
    tables = []
    for shape in shapes:
        table = np.zeros(shape, np.uint8)
        if table.size:
            empty, most, number = next(facts), next(facts), next(facts)
            turned = SETTINGS[number].transposed
            table = np.full(shape[::-1] if turned else shape, empty, np.uint8)
            _run(reader, table, empty, most, SETTINGS[number])
            table = np.ascontiguousarray(table.T) if turned else table
        tables.append(table)
    return tables


class _Writer:
    def __init__(self) -> None:
        self._coder, self._model = _constriction().stream.queue.RangeEncoder(), _constriction().stream.model

    def flags(self, values: Array, shares: Array) -> Array:
        self._coder.encode(values.astype(np.int32), self._model.Bernoulli(perfect=False), shares)
        return values

    def symbols(self, values: Array, weights: Array) -> Array:
        if len(values):
            self._coder.encode(values.astype(np.int32), self._model.Categorical(weights, perfect=False))
        return values

    def stream(self) -> bytes:
        return bytes(self._coder.get_compressed().astype("<u4").tobytes()).rstrip(b"\0")


class _Reader:
    def __init__(self, stream: bytes) -> None:
        words = np.frombuffer(stream + b"\0" * (-len(stream) % 4), "<u4").astype(np.uint32)
        self._coder, self._model = _constriction().stream.queue.RangeDecoder(words), _constriction().stream.model

    def flags(self, values: Array, shares: Array) -> Array:
        return np.asarray(self._coder.decode(self._model.Bernoulli(perfect=False), shares)).astype(bool)

    def symbols(self, values: Array, weights: Array) -> Array:
        if not len(values):
            return values
        return np.asarray(self._coder.decode(self._model.Categorical(weights, perfect=False), len(values)))


class _Meter:
    """What a `_Writer` would write, in bits."""

    def __init__(self) -> None:
        self.bits = 0.0

    def flags(self, values: Array, shares: Array) -> Array:
        self.bits -= float(np.log2(np.where(values, shares, 1.0 - shares)).sum())
        return values

    def symbols(self, values: Array, weights: Array) -> Array:
        self.bits -= float(np.log2(weights[values] / weights.sum()).sum())
        return values


def _smallest(table: Array, empty: int, most: int) -> int:
    """The number of the setting that codes this table, or the first of it, in the fewest bits."""

    def bits(number: int) -> float:
        meter, turned = _Meter(), _turned(table, number)
        part = turned[: max(1, MOST_TRIED // turned.shape[1])]
        _run(meter, part, empty, most, SETTINGS[number])
        return meter.bits / part.size

    tried = QUICK if table.size > MOST_TRIED else range(len(SETTINGS))
    return min(tried, key=bits)


def _turned(table: Array, number: int) -> Array:
    return np.ascontiguousarray(table.T) if SETTINGS[number].transposed else table


def _run(coder: Any, table: Array, empty: int, most: int, setting: Setting) -> None:
    """Bring a table through a writer or meter, or fill it, all `empty`, from a reader: both see the same shares."""
    told = table != empty
    counts = _row_counts(coder, told.sum(1), table.shape[1], setting.exact)
    rows = np.flatnonzero(counts)
    columns = _Columns(table.shape[1], setting)
    seen = np.ones(most + 1)
    seen[empty if empty <= most else 0] = 0.0
    size = max(1, max(CHUNK, table.size // MOST_CHUNKS) // table.shape[1])
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        shares = columns.shares(counts[part])
        flags = coder.flags(told[part].ravel(), shares.ravel()).reshape(shares.shape)
        columns.learn(flags, counts[part])
        chunk = table[part]
        chunk[flags] = coder.symbols(chunk[flags], seen.astype(np.float32))
        table[part] = chunk
        seen += np.bincount(chunk[flags], minlength=most + 1)


def _row_counts(coder: Any, counts: Array, num_columns: int, exact: bool) -> Array:
    """(rows,) about how many codes of each row are not empty, as the coder has told it."""
    classes = _classes(num_columns, exact)
    numbers = np.searchsorted(classes[:, 0], counts, side="right") - 1
    seen = np.full(len(classes), 0.5, np.float32)
    for row, number in enumerate(numbers):
        told = int(coder.symbols(np.array([number]), seen)[0])
        seen[told] += 1.0
        numbers[row] = told
    return np.asarray(classes[numbers].sum(1) // 2)


def _classes(num_columns: int, exact: bool) -> Array:
    """(classes, 2) the least and the largest count of each: 0, 1, then octaves or quarters of them."""
    steps = 1 << MANTISSA_BITS if exact else 1
    starts = {0, 1} | {(1 << e) * (steps + i) // steps for e in range(num_columns.bit_length()) for i in range(steps)}
    ordered = sorted(start for start in starts if start <= num_columns)
    return np.array(list(zip(ordered, [*(start - 1 for start in ordered[1:]), num_columns], strict=True)))


class _Columns:
    """What the rows before have shown of each column, in whole numbers."""

    def __init__(self, num_columns: int, setting: Setting) -> None:
        self.num_columns, self.setting = num_columns, setting
        self.counts, self.expected = np.zeros(num_columns, np.int64), 0.0
        places = np.arange(num_columns)
        self.first = np.maximum(places - setting.window, 0)
        self.last = np.minimum(places + setting.window + 1, num_columns)

    def shares(self, counts: Array) -> Array:
        """(rows, columns) how likely each code of the next rows is told; `counts` (rows,) is about how many are."""
        totals = np.concatenate([[0], np.cumsum(self.counts)])
        around = (totals[self.last] - totals[self.first] + 1.0) / ((self.last - self.first) * self.expected + 1.0)
        rates = (self.counts + self.setting.strength * around) / (self.expected + self.setting.strength)
        fixed = (rates * ONE).astype(np.int64) + 1
        return np.asarray(np.clip(counts[:, None] * (fixed / int(fixed.sum())), LEAST_SHARE, MOST_SHARE))

    def learn(self, flags: Array, counts: Array) -> None:
        self.counts += flags.sum(0)
        self.expected += int(counts.sum()) / self.num_columns


def _constriction() -> Any:
    try:
        import constriction
    except ImportError as error:
        raise MissingExtra("constriction", "coding") from error
    return constriction
