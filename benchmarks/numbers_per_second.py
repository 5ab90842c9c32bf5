"""Numbers per second: what shrinks weights, against the library that does the same, in turns on one machine, one thread.

    PYTHONPATH=src PYTHON benchmarks/numbers_per_second.py [SECTION ...]      -> results/numbers_per_second.json and .md

PYTHON is of an environment that has the reference libraries (gptqmodel, hqq, neural-compressor-pt, scikit-learn, faiss-cpu,
zstandard, constriction); one that is missing is told as such. Each of SECTIONS gives (title, numbers a call, {who: call}); the
calls take turns, after one that is not counted. With a name that none has, only the table is written anew.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coders

RESULTS = Path(__file__).parent / "results"
ROUNDS, FEW_ROUNDS = 7, 3
NUM_SHARED, NUM_CLUSTERS = 10_000_000, 16
MOST_ITERATIONS = 25  # of the references: far from converged, which takes scikit-learn hundreds
Calls = dict[str, Callable[[], Any]]  # "farthing" first
Section = tuple[str, int, Calls]


def gptq_layer() -> Section:
    """The layer's rounding, given the second moment of its inputs; act_order, 4 bits, groups of 64."""
    from farthing.methods.gptq import Gptq

    weight_OI, moment_II = layer(1024)
    calls: Calls = {"farthing": lambda: Gptq().rounded(weight_OI, moment_II.double()).decode()}

    def gptqmodel() -> Callable[[], Any]:
        from gptqmodel.quantization.config import QuantizeConfig
        from gptqmodel.quantization.gptq import GPTQ

        def call() -> Any:
            linear = torch.nn.Linear(1024, 1024, bias=False).requires_grad_(False)
            linear.weight.data = weight_OI.clone()
            task = GPTQ(linear, QuantizeConfig(bits=4, group_size=64, desc_act=True, sym=False, act_group_aware=False))
            task.quantizer.configure(perchannel=True)
            task.add_batch(inputs(1024), None)
            started = time.process_time()
            found = task.quantize()[0]
            return Timed(found, time.process_time() - started)

        return call

    return "GPTQ of a 1024 x 1024 layer", weight_OI.numel(), calls | reference("gptqmodel", gptqmodel)


def nearest_weights() -> Section:
    """4 bits, groups of 64, asymmetric; farthing's codes are packed, the reference's are left as they are."""
    from farthing.forms.linear_grid import LinearGrid

    weight_OI = torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0))
    grid = LinearGrid(bits=4, symmetric=False, granularity="group", range="min_max")

    def neural_compressor() -> Callable[[], Any]:
        from neural_compressor.torch.algorithms.weight_only.utility import quant_tensor

        return lambda: quant_tensor(weight_OI.clone(), bits=4, group_size=64, scheme="asym", return_int=True)

    ours: Calls = {"farthing": lambda: grid.coded(weight_OI).packed()}
    return "RTN of 4,194,304 weights", weight_OI.numel(), ours | reference("neural_compressor", neural_compressor)


def hqq_weights() -> Section:
    """4 bits, groups of 64, at most 20 turns; both packed."""
    from farthing.methods.hqq import Hqq

    weight_OI = torch.randn(4096, 1024, generator=torch.Generator().manual_seed(0))

    def hqq() -> Callable[[], Any]:
        from hqq.core.quantize import Quantizer

        options = {"nbits": 4, "group_size": 64, "axis": 1, "compute_dtype": torch.float32, "device": "cpu"}
        return lambda: Quantizer.quantize(weight_OI, **options)

    ours: Calls = {"farthing": lambda: Hqq().settled(weight_OI.unflatten(1, (-1, 64)))}
    return "HQQ of 4,194,304 weights", weight_OI.numel(), ours | reference("hqq", hqq)


def sharing() -> Section:
    """10 million normal weights to 16 values: levels and codes. distortion: mean squared distance."""
    weights = np.random.default_rng(0).standard_normal(NUM_SHARED).astype(np.float32)

    def scikit_learn(name: str) -> Callable[[], Callable[[], Any]]:
        def make() -> Callable[[], Any]:
            from sklearn import cluster

            kind, start = getattr(cluster, name), np.linspace(weights.min(), weights.max(), NUM_CLUSTERS)[:, None]

            def call() -> Any:
                options = {"init": start, "n_init": 1, "max_iter": MOST_ITERATIONS, "random_state": 0}
                fitted = kind(NUM_CLUSTERS, **options).fit(weights[:, None])
                return shared(weights, fitted.cluster_centers_, fitted.labels_)

            return call

        return make

    def faiss_own() -> Callable[[], Any]:
        import faiss

        def call() -> Any:
            faiss.omp_set_num_threads(1)
            fitted = faiss.Kmeans(1, NUM_CLUSTERS, niter=MOST_ITERATIONS, seed=0, verbose=False)
            fitted.train(weights[:, None])
            return shared(weights, fitted.centroids, fitted.index.search(weights[:, None], 1)[1])

        return call

    def ours() -> Any:
        from farthing.forms.clusters import k_means
        from farthing.training.sharing import nearest

        levels = k_means(weights, NUM_CLUSTERS)
        codes = nearest(torch.from_numpy(weights), torch.from_numpy(levels).float())
        return shared(weights, levels, codes.numpy())

    calls: Calls = {"farthing": ours} | reference("faiss, Kmeans and search", faiss_own)
    calls |= reference("scikit-learn, KMeans from the same start", scikit_learn("KMeans"))
    return (
        "Sharing of 10,000,000 weights",
        NUM_SHARED,
        calls | reference("scikit-learn, MiniBatchKMeans", scikit_learn("MiniBatchKMeans")),
    )


def encoding() -> Section:
    """A layer of a tenth of weights that are not zero, uneven over rows and columns."""
    table = coders.uneven()
    return "Encoding a pruned layer", table.size, {name: sized(encode) for name, (encode, _) in coders.pairs(table).items()}


def decoding() -> Section:
    """The same layer, back from the bytes of each."""
    table, calls = coders.uneven(), Calls()
    for name, (encode, decode) in coders.pairs(table).items():
        coded = encode()
        assert np.array_equal(np.asarray(decode(coded)).reshape(table.shape), table), name
        calls[name] = lambda decode=decode, coded=coded: decode(coded)
    return "Decoding it", table.size, calls


SECTIONS = (gptq_layer, nearest_weights, hqq_weights, sharing, encoding, decoding)


class Timed:
    """An answer whose making was only a part of the call, and what is told of it."""

    def __init__(self, value: Any, seconds: float, **facts: float) -> None:
        self.value, self.seconds, self.facts = value, seconds, facts


def shared(weights: Any, levels: Any, codes: Any) -> Timed:
    """Its seconds are those up to here, which `in_turns` counts: how far weights are from their levels is no part of it."""
    ended = time.process_time()
    told = np.ravel(levels).astype(np.float32)[np.ravel(codes)]
    return Timed(None, -ended, distortion=float(np.mean((weights - told) ** 2)))


def sized(encode: Callable[[], bytes]) -> Callable[[], Any]:
    def call() -> Timed:
        coded = encode()
        return Timed(coded, -time.process_time(), bytes=len(coded))

    return call


def reference(name: str, make: Callable[[], Callable[[], Any]]) -> Calls:
    try:
        return {name: make()}
    except ImportError as error:
        print(f"{name} is not there: {error}")
        return {}


def layer(num_inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A square weight, and the second moment of inputs that are correlated."""
    x_NI = inputs(num_inputs)
    return torch.randn(num_inputs, num_inputs, generator=torch.Generator().manual_seed(1)), x_NI.T @ x_NI / len(x_NI)


def inputs(num_inputs: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(num_inputs, num_inputs, generator=generator) / num_inputs**0.5
    return torch.randn(4096, num_inputs, generator=generator) @ (mixing + torch.eye(num_inputs))


def in_turns(calls: Calls, rounds: int) -> dict[str, dict[str, Any]]:
    """who -> CPU seconds of each round, and what else is told of its answer."""
    found: dict[str, dict[str, Any]] = {name: {"seconds": []} for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            started = time.process_time()
            answer = call()
            spent = time.process_time() - started
            if isinstance(answer, Timed):
                found[name] |= answer.facts
                spent = answer.seconds if answer.seconds > 0 else -answer.seconds - started
            if number:
                found[name]["seconds"].append(spent)
    return found


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    file = RESULTS / "numbers_per_second.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    for section in SECTIONS:
        if not names or section.__name__ in names:
            title, count, calls = section()
            who = in_turns(calls, FEW_ROUNDS if section is sharing else ROUNDS)
            found[title] = {"what": section.__doc__, "numbers": count, "clock": "CPU", "who": who}
            print(title, {name: float(np.median(row["seconds"])) for name, row in who.items()}, flush=True)
            file.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "numbers_per_second.md").write_text("\n".join(table(found)) + "\n")


def table(found: dict[str, Any]) -> list[str]:
    lines = [
        "# Numbers per second",
        "",
        "Million numbers a second, median [quartiles]; farthing's time over the reference's in the same round: below 1 is",
        "faster. A float32 number has 4 bytes: times 4 it is MB a second.",
    ]
    for title, section in found.items():
        lines += ["", f"## {title}", "", f"{section['what']} One thread, {section['clock']} time.", ""]
        lines += ["| who | million a second | farthing over this | |", "|---|---|---|---|"]
        ours = np.array(section["who"]["farthing"]["seconds"])
        for name, row in section["who"].items():
            ratios, rates = ours / np.array(row["seconds"]), section["numbers"] / 1e6 / np.array(row["seconds"])
            told = "" if name == "farthing" else "{:.3g} [{:.3g}, {:.3g}]".format(*np.percentile(ratios, (50, 25, 75)))
            facts = ", ".join(
                f"{key} {value:,.5g}" if value < 1 else f"{value:,} {key}" for key, value in row.items() if key != "seconds"
            )
            lines.append(
                "| {} | {:.4g} [{:.4g}, {:.4g}] | {} | {} |".format(name, *np.percentile(rates, (50, 25, 75)), told, facts)
            )
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
