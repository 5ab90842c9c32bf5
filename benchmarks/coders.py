"""What codes a pruned layer losslessly, farthing first: for the sections encoding and decoding of `numbers_per_second.py`."""

import importlib.util
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

SHAPE, SPARSITY = (2048, 2048), 0.9
Pair = tuple[Callable[[], bytes], Callable[[bytes], Any]]  # encode, decode


def uneven() -> Any:
    """(rows, columns) uint8 codes of 16 levels: 0 where pruned; rows and columns differ in how much is left of them."""
    draw = np.random.default_rng(0)
    rows, columns = draw.gamma(1.0, size=(SHAPE[0], 1)), draw.gamma(0.5, size=(1, SHAPE[1]))
    told = draw.random(SHAPE) < np.minimum(rows * columns * (1 - SPARSITY) / (rows.mean() * columns.mean()), 1.0)
    return (told * (1 + draw.binomial(14, 0.5, SHAPE))).astype(np.uint8)


def pairs(table: Any) -> dict[str, Pair]:
    """Tables of the static coders are counted, two bytes an entry. A library that is not installed is left out, and said so."""
    from farthing.forms.coding import decode, encode

    flat = table.ravel().tobytes()
    inflate = lambda coded: np.frombuffer(zlib.decompress(coded), np.uint8)  # noqa: E731
    found: dict[str, Pair] = {
        "farthing": (lambda: encode([table]), lambda coded: decode(coded, [table.shape])[0]),
        "Huffman (zlib, Z_HUFFMAN_ONLY)": (lambda: _deflated(flat, zlib.Z_HUFFMAN_ONLY), inflate),
        "zlib, level 9": (lambda: _deflated(flat, zlib.Z_DEFAULT_STRATEGY), inflate),
    }
    if _has("zstandard"):
        import zstandard

        for level in (3, 19):
            packer = zstandard.ZstdCompressor(level=level)
            found[f"zstd, level {level}"] = (
                lambda p=packer: p.compress(flat),
                lambda coded: np.frombuffer(zstandard.ZstdDecompressor().decompress(coded), np.uint8),
            )
    if _has("constriction"):
        found["constriction, range coder, one static table"] = _static(table)
        found["constriction, a share for each place given (its tables not counted)"] = _given(table)
    return found


def _static(table: Any) -> Pair:
    import constriction

    queue, model = constriction.stream.queue, constriction.stream.model
    counts = np.bincount(table.ravel()).astype(np.float32)

    def encode() -> bytes:
        coder = queue.RangeEncoder()
        coder.encode(table.ravel().astype(np.int32), model.Categorical(counts, perfect=False))
        return bytes(2 * len(counts)) + bytes(coder.get_compressed().tobytes())

    def decode(coded: bytes) -> Any:
        words = np.frombuffer(coded[2 * len(counts) :], np.uint32)
        return queue.RangeDecoder(words).decode(model.Categorical(counts, perfect=False), table.size)

    return encode, decode


def _given(table: Any) -> Pair:
    """The library's own speed at what farthing asks of it: a share for each place, known beforehand; then the values."""
    import constriction

    queue, model = constriction.stream.queue, constriction.stream.model
    told = table != 0
    shares = np.clip(np.outer(told.mean(1), told.mean(0) / told.mean()), 1e-4, 0.9999).ravel()
    counts = np.bincount(table[told]).astype(np.float32)

    def encode() -> bytes:
        coder = queue.RangeEncoder()
        coder.encode(told.ravel().astype(np.int32), model.Bernoulli(perfect=False), shares)
        coder.encode(table[told].astype(np.int32), model.Categorical(counts, perfect=False))
        return bytes(coder.get_compressed().tobytes())

    def decode(coded: bytes) -> Any:
        coder, found = queue.RangeDecoder(np.frombuffer(coded, np.uint32)), np.zeros(table.size, np.uint8)
        places = coder.decode(model.Bernoulli(perfect=False), shares).astype(bool)
        found[places] = coder.decode(model.Categorical(counts, perfect=False), int(places.sum()))
        return found

    return encode, decode


def _deflated(flat: bytes, strategy: int) -> bytes:
    packer = zlib.compressobj(9, strategy=strategy)
    return packer.compress(flat) + packer.flush()


def _has(module: str) -> bool:
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{module} is not installed: left out")
    return found
