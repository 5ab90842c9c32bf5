"""Numbers a second, each against the library that does the same: one function a section, all in results/per_second.json.

    python benchmarks/per_second.py [section ...]

Variants take turns; told are medians over the rounds, with the least and the largest. One thread each. A reference that is not
installed is left out, and said so: pip install scikit-learn faiss-cpu zstandard constriction.
"""

import importlib.util
import json
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "per_second.json"
NUM_ROUNDS = 5
NUM_SHARED, NUM_CLUSTERS = 10_000_000, 16
MOST_ITERATIONS = 25  # of the references: far from converged, which takes scikit-learn hundreds
SHAPE, SPARSITY = (2048, 2048), 0.9  # of what is coded: a pruned layer, its codes of 16 levels
MEGA = 1e6


def sharing() -> dict[str, Any]:
    """10 million normal weights to 16 values: levels and codes. distortion: mean squared distance."""
    weights = np.random.default_rng(0).standard_normal(NUM_SHARED).astype(np.float32)
    variants: dict[str, Callable[[], tuple[Any, Any]]] = {"farthing": lambda: _farthing(weights)}
    if _has("sklearn"):
        variants["scikit-learn, KMeans from the same start"] = lambda: _sklearn(weights, batches=False)
        variants["scikit-learn, MiniBatchKMeans"] = lambda: _sklearn(weights, batches=True)
    if _has("faiss"):
        variants["faiss, Kmeans and search"] = lambda: _faiss(weights)
    found: dict[str, Any] = {}
    for name, seconds in _turns(variants, rounds=3).items():
        levels, codes = variants[name]()
        distortion = float(np.mean((weights - np.ravel(levels).astype(np.float32)[np.ravel(codes)]) ** 2))
        found[name] = _told(seconds, NUM_SHARED / MEGA, "million weights a second") | {"distortion": distortion}
    return found


def coding() -> dict[str, Any]:
    """A layer of a tenth of weights that are not zero, uneven over rows and columns; MB of float32 a second, and bytes."""
    table = _uneven()
    num_megabytes, found = table.size * 4 / MEGA, {}
    pairs = _coders(table)
    encoded = {name: encode() for name, (encode, _) in pairs.items()}
    for name, (_, decode) in pairs.items():
        assert np.array_equal(np.asarray(decode(encoded[name])).reshape(table.shape), table), name
    encoding = _turns({name: encode for name, (encode, _) in pairs.items()})
    decoding = _turns({name: (lambda d=decode, e=encoded[name]: d(e)) for name, (_, decode) in pairs.items()})
    for name in pairs:
        found[name] = {
            "bytes": len(encoded[name]),
            "encode": _told(encoding[name], num_megabytes, "MB of float32 a second"),
            "decode": _told(decoding[name], num_megabytes, "MB of float32 a second"),
        }
    return found


SECTIONS: dict[str, Callable[[], dict[str, Any]]] = {"sharing": sharing, "coding": coding}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in sys.argv[1:] or SECTIONS:
        results[name] = SECTIONS[name]()
        print(name, json.dumps(results[name], indent=1), flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def _farthing(weights: Any) -> tuple[Any, Any]:
    import torch

    from farthing.forms.clusters import k_means
    from farthing.training.sharing import nearest

    levels = k_means(weights, NUM_CLUSTERS)
    return levels, nearest(torch.from_numpy(weights), torch.from_numpy(levels).float()).numpy()


def _sklearn(weights: Any, *, batches: bool) -> tuple[Any, Any]:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    start = np.linspace(weights.min(), weights.max(), NUM_CLUSTERS)[:, None]
    kind = MiniBatchKMeans if batches else KMeans
    fitted = kind(NUM_CLUSTERS, init=start, n_init=1, max_iter=MOST_ITERATIONS, random_state=0).fit(weights[:, None])
    return fitted.cluster_centers_, fitted.labels_


def _faiss(weights: Any) -> tuple[Any, Any]:
    import faiss

    faiss.omp_set_num_threads(1)
    fitted = faiss.Kmeans(1, NUM_CLUSTERS, niter=MOST_ITERATIONS, seed=0, verbose=False)
    fitted.train(weights[:, None])
    _, codes = fitted.index.search(weights[:, None], 1)
    return fitted.centroids, codes


def _uneven() -> Any:
    """(rows, columns) uint8: 0 where pruned; rows and columns differ in how much is left of them."""
    draw = np.random.default_rng(0)
    rows, columns = draw.gamma(1.0, size=(SHAPE[0], 1)), draw.gamma(0.5, size=(1, SHAPE[1]))
    told = draw.random(SHAPE) < np.minimum(rows * columns * (1 - SPARSITY) / (rows.mean() * columns.mean()), 1.0)
    return (told * (1 + draw.binomial(14, 0.5, SHAPE))).astype(np.uint8)


def _coders(table: Any) -> dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]]:
    """name -> (encode, decode). Tables of the static coders are counted, two bytes an entry."""
    from farthing.forms.coding import decode, encode

    flat = table.ravel().tobytes()
    found: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Any]]] = {
        "farthing": (lambda: encode([table]), lambda coded: decode(coded, [table.shape])[0]),
        "Huffman (zlib, Z_HUFFMAN_ONLY)": (
            lambda: _deflated(flat, zlib.Z_HUFFMAN_ONLY),
            lambda coded: np.frombuffer(zlib.decompress(coded), np.uint8),
        ),
        "zlib, level 9": (
            lambda: _deflated(flat, zlib.Z_DEFAULT_STRATEGY),
            lambda coded: np.frombuffer(zlib.decompress(coded), np.uint8),
        ),
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


def _static(table: Any) -> tuple[Callable[[], bytes], Callable[[bytes], Any]]:
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


def _given(table: Any) -> tuple[Callable[[], bytes], Callable[[bytes], Any]]:
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


def _turns(variants: dict[str, Callable[[], Any]], *, rounds: int = NUM_ROUNDS) -> dict[str, list[float]]:
    """name -> CPU seconds of each round; the variants take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            began = time.process_time()
            call()
            seconds[name].append(time.process_time() - began)
    return seconds


def _told(seconds: list[float], amount: float, unit: str) -> dict[str, Any]:
    middle, least, most = (amount / float(s) for s in (np.median(seconds), max(seconds), min(seconds)))
    return {"unit": unit, "median": middle, "least": least, "most": most, "seconds": seconds}


def _has(module: str) -> bool:
    found = importlib.util.find_spec(module) is not None
    if not found:
        print(f"{module} is not installed: left out")
    return found


if __name__ == "__main__":
    main()
