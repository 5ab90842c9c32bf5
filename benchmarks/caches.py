"""What the prediction cache does on CLINC-150: hits, wrong hits, seconds of a look, USD, and where it loses.

    FARTHING_DATA=... OMP_NUM_THREADS=1 python benchmarks/caches.py FOLDER [PART ...]    -> results/caches.json, .md

The model is MiniLM with a logistic head, fitted on half of the training part; the traffic is everything else (the other
half, validation, test, and what is out of scope), so nothing in it was learned from. FOLDER keeps the exported encoder, the
embeddings and each part's results between runs; parts may be named. Redis is timed where REDIS_URL names a server.
"""

import asyncio
import functools
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing.caches.base import Cache
from farthing.caches.disk import Disk
from farthing.caches.memory import Memory
from farthing.caching import cached
from farthing.caching.encoding import to_bytes
from farthing.caching.guards import refuses
from farthing.caching.neighbours import Exact, Graph, Neighbours
from farthing.caching.savings import Terms as Prices
from farthing.caching.semantic import Semantic, Threshold, in_thread
from farthing.calibration import calibrate
from farthing.calibration.budget import Verify, certify_cached, divide
from farthing.calibration.replay import stream
from farthing.calibration.threshold import Terms
from farthing.certification.proportions import clopper_pearson
from farthing.types import Array, Floor
from jobs import sources

RESULTS = Path(__file__).parent / "results"
USD_PER_S = 0.085 / 3600 / 2  # one of the two vCPUs of a c6i.large, on demand
BUDGETS = (0.01, 0.02, 0.05)
MAX_ENTRIES = 3_000
SEEDS = range(5)
FIXED = (0.95, 0.9, 0.85, 0.8)  # thresholds that people write down
SIZES = (1_000, 10_000, 20_000, 50_000, 200_000)
ROUNDS, LOOKS = 7, 30
DEAR = (1, 10, 100)  # price of a model call, in embeddings
SHADOW = 0.05
ZIPF = 1.0


def main(folder: Path, *only: str) -> None:
    """All parts, or those named; each is kept in `folder`, and the tables are written when all are there."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Callable[[], Any]] = {
        "embedding_s": lambda: Encoder(folder).seconds(_traffic(folder).texts[:300]),
        "looks": lambda: [look_times(_traffic(folder).vectors, size) for size in SIZES],
        "storage": lambda: storage_times(folder),
        "budgets": lambda: budgets(_traffic(folder)),
        "zipf": lambda: zipf(_traffic(folder), _kept(folder, "budgets")),
        "loses": lambda: loses(_traffic(folder), Encoder(folder)),
        "whole": lambda: whole(_traffic(folder)),
    }
    for name in only or parts:
        if not (folder / f"{name}.json").exists():
            (folder / f"{name}.json").write_text(json.dumps(parts[name]()))
    if all((folder / f"{name}.json").exists() for name in parts):
        facts = {name: _kept(folder, name) for name in parts}
        (RESULTS / "caches.json").write_text(json.dumps(facts, indent=1) + "\n")
        (RESULTS / "caches.md").write_text("\n".join(table(facts)) + "\n")


def _kept(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_text())


@functools.cache
def _traffic(folder: Path) -> "Traffic":
    return Traffic.of(Encoder(folder), folder)


class Encoder:
    """MiniLM on ONNX Runtime, one thread."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        if not (folder / "encoder.onnx").exists():
            _export(folder / "encoder.onnx")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "encoder.onnx"), options, providers=["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(sources._minilm() / "tokenizer.json"))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(64)

    def __call__(self, texts: list[str]) -> Array:
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        return np.asarray(self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0])

    def one(self, text: str) -> Array:
        return np.asarray(self([text])[0])

    def seconds(self, texts: list[str]) -> float:
        """Median, one text at a time."""
        return float(np.median([_timed(lambda text=text: self.one(text)) for text in texts]))


def _export(path: Path) -> None:
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(sources._minilm(), attn_implementation="eager").eval()

    encoder.pooler = None

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return sources._pooled(self.encoder, input_ids, attention_mask)

    example = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long))
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "length"} for name in names}
    torch.onnx.export(Pooled(), example, str(path), input_names=names, dynamic_axes=axes, dynamo=False)


class Traffic:
    """Texts that the model has not learned from, their embeddings, the model's answers, and true labels (-1: none)."""

    def __init__(self, texts: list[str], vectors: Array, answers: Array, labels: Array, scores: Array) -> None:
        self.texts, self.vectors, self.answers, self.labels, self.scores = texts, vectors, answers, labels, scores
        self.at = {text: i for i, text in enumerate(texts)}

    @classmethod
    def of(cls, encoder: Encoder, folder: Path) -> "Traffic":
        from sklearn.linear_model import LogisticRegression

        whole = json.loads((sources._data() / "clinc150" / "data_full.json").read_text())
        intents = sorted({intent for _, intent in whole["train"]})
        rows = list({text: (text, intent) for part in sorted(whole) for text, intent in whole[part]}.values())
        texts = [text for text, _ in rows]
        labels = np.array([intents.index(intent) if intent in intents else -1 for _, intent in rows])
        if not (folder / "vectors.npy").exists():
            order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
            vectors = np.empty((len(texts), 384), np.float32)
            for start in range(0, len(order), 64):
                batch = order[start : start + 64]
                vectors[batch] = encoder([texts[i] for i in batch])
            np.save(folder / "vectors.npy", vectors)
        vectors = np.load(folder / "vectors.npy")
        trained = {text for text, _ in whole["train"][::2]}
        learned = np.array([text in trained for text in texts])
        head = LogisticRegression(C=10.0, max_iter=300).fit(vectors[learned], labels[learned])
        keep = np.flatnonzero(~learned)
        scores = head.decision_function(vectors[keep])
        return cls([texts[i] for i in keep], vectors[keep], scores.argmax(axis=1), labels[keep], scores)

    def take(self, index: Array) -> "Traffic":
        return Traffic(
            [self.texts[i] for i in index], self.vectors[index], self.answers[index], self.labels[index], self.scores[index]
        )


def look_times(vectors: Array, size: int) -> dict[str, Any]:
    """Median seconds of one look among `size` entries, exact and graph in turns; beyond the texts there are, shaken copies."""
    draw = np.random.default_rng(0)
    copies = vectors[draw.integers(0, len(vectors), size)] + 0.03 * draw.standard_normal((size, 384)).astype(np.float32)
    held = copies / np.linalg.norm(copies, axis=1, keepdims=True)
    asked = vectors[draw.integers(0, len(vectors), ROUNDS * LOOKS)]
    kinds: dict[str, Neighbours] = {"exact": Exact(size, 384), "graph": Graph(size, 384)}
    fill_s = {name: _timed(lambda kind=kind: [kind.fill(i, v) for i, v in enumerate(held)]) for name, kind in kinds.items()}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    same = 0
    for one in range(ROUNDS):
        part = asked[one * LOOKS : (one + 1) * LOOKS]
        for name, kind in kinds.items():
            times[name] += [_timed(lambda kind=kind, vector=vector: kind.nearest(vector)) for vector in part]
        same += sum(kinds["exact"].nearest(v)[0] == kinds["graph"].nearest(v)[0] for v in part)
    told = {name: [float(q) for q in np.quantile(t, (0.25, 0.5, 0.75))] for name, t in times.items()}
    return {"size": size, "seconds": told, "graph_agrees": same / len(asked), "fill_s": fill_s}


def storage_times(folder: Path) -> dict[str, Any]:
    """Median seconds of a hit, a miss and a put of 600 bytes; what a key costs to write down."""
    item = (np.arange(20), np.ones(20, np.int64))
    told: dict[str, Any] = {"key": float(np.median([_timed(lambda: to_bytes(("v", item))) for _ in range(2_000)]))}
    path = folder / "cache.sqlite"
    path.unlink(missing_ok=True)
    kinds: dict[str, Cache] = {"memory": Memory(), "disk": Disk(path=path)}
    kinds |= _redis()
    for name, cache in kinds.items():
        value = b"v" * 600
        times: dict[str, list[float]] = {"put": [], "hit": [], "miss": []}
        for i in range(2_000):
            key = b"key %d" % i
            times["miss"].append(_timed(lambda cache=cache, key=key: cache.get("", key)))
            times["put"].append(_timed(lambda cache=cache, key=key, value=value: cache.put("", key, value, math.inf)))
            times["hit"].append(_timed(lambda cache=cache, key=key: cache.get("", key)))
        assert cache.usage().failures == 0
        told[name] = {what: float(np.median(t)) for what, t in times.items()}
        cache.clear("")
        cache.close()
    return told


def _redis() -> dict[str, Cache]:
    """A server that listens on REDIS_URL; left out where that is not set."""
    import os

    if "REDIS_URL" not in os.environ:
        return {}
    from farthing.caches.redis import Redis

    return {"redis": Redis(url=os.environ["REDIS_URL"], prefix="benchmark", timeout_s=1.0)}


def budgets(traffic: Traffic) -> list[dict[str, Any]]:
    """Half of the texts calibrate, the other half come by in random order, the cache warm from the first half; over seeds."""
    told = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(len(traffic.texts))
        past, later = traffic.take(order[: len(order) // 2]), traffic.take(order[len(order) // 2 :])
        for budget in BUDGETS:
            for guard, name in ((refuses, "guarded"), (_none, "unguarded")):
                terms = Terms(budget=budget, max_entries=MAX_ENTRIES)
                found = calibrate(past.texts, past.vectors, past.answers, differs=_differs, terms=terms, guard=guard)
                row = {"seed": seed, "budget": budget, "rule": name, "reason": found.reason}
                told.append(row | _played(past, later, found.threshold, guard))
        for cosine in FIXED:
            threshold = Threshold(cosine=cosine, budget=0.99, max_entries=MAX_ENTRIES, alpha=0.05)
            row = {"seed": seed, "budget": None, "rule": f"fixed {cosine:g}", "reason": ""}
            told.append(row | _played(past, later, threshold, _none))
        print(seed, flush=True)
    return told


def _played(
    past: Traffic, later: Traffic, threshold: Threshold | None, guard: Callable[[str, str], str | None]
) -> dict[str, Any]:
    """The live cache, shadows included: filled by the past, counted on what comes later."""
    if threshold is None:
        return {"cosine": None, "hits": 0, "wrong": 0, "requests": len(later.texts), "upper": 0.0, "broken": False}
    semantic = Semantic(embed=in_thread(_none1), differs=_differs, threshold=threshold, guard=guard, shadow_share=SHADOW)
    _through(semantic, past)
    semantic.watch = replace_watch(semantic)
    hits, wrong = _through(semantic, later)
    n = len(later.texts)
    return {
        "cosine": threshold.cosine, "entries": threshold.max_entries, "hits": hits, "wrong": wrong, "requests": n,
        "upper": clopper_pearson(wrong, n, 0.05)[1], "broken": semantic.watch.broken, "watch": semantic.describe(),
        "refused": dict(semantic.refused),
    }  # fmt: skip


def replace_watch(semantic: Semantic) -> Any:
    return replace(semantic.watch, requests=0, shadowed=0, wrong=0, broken=False, _starts=[(0, 0, 0)], _next=1)


def _through(semantic: Semantic, traffic: Traffic) -> tuple[int, int]:
    hits = wrong = 0
    for text, vector, answer in zip(traffic.texts, traffic.vectors, traffic.answers.tolist(), strict=True):
        hit = semantic.look("", text, vector)
        if hit is not None:
            given = int(hit.answer)
            hits, wrong = hits + 1, wrong + (given != answer)
            if hit.shadow:
                semantic.observe(hit, answer, given)
        if hit is None or hit.shadow:
            semantic.add("", text, vector, b"%d" % answer)
    return hits, wrong


def zipf(traffic: Traffic, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """30,000 requests, Zipf over the later texts of each seed: exact and semantic cache together, through the front itself."""
    rows = []
    for seed in list(SEEDS)[:2]:
        order = np.random.default_rng(seed).permutation(len(traffic.texts))
        later = traffic.take(order[len(order) // 2 :])
        draw = np.random.default_rng(100 + seed)
        chance = 1.0 / np.arange(1, len(later.texts) + 1) ** ZIPF
        requests = draw.choice(len(later.texts), 30_000, p=chance / chance.sum()).tolist()
        for budget in (None, *BUDGETS):
            found = [r for r in told if (r["seed"], r["budget"], r["rule"]) == (seed, budget, "guarded") and r["cosine"]]
            if budget is not None and not found:
                continue
            semantic = None
            if found:
                kept = Threshold(cosine=found[0]["cosine"], budget=budget, max_entries=found[0]["entries"], alpha=0.05)
                semantic = Semantic(embed=in_thread(lambda t, m=later: m.vectors[m.at[t]]), differs=_differs, threshold=kept)
            rows.append({"seed": seed, "budget": budget} | asyncio.run(_asked(later, requests, semantic)))
    return rows


async def _asked(later: Traffic, requests: list[int], semantic: Semantic | None) -> dict[str, Any]:
    async def model(i: int) -> int:
        return int(later.answers[i])

    front = cached(model, cache=Memory(), version="v", terms=Prices(usd_per_request=1.0, usd_per_s=0.0), semantic=semantic)
    counts, wrong = {"model": 0, "exact": 0, "neighbour": 0}, 0
    for i in requests:
        answer = await front.ask(i, text=later.texts[i])
        counts[answer.source] += 1
        wrong += answer.value != int(later.answers[i])
    await front.settle()
    n = len(requests)
    return counts | {"wrong": wrong, "requests": n, "upper": clopper_pearson(wrong, n, 0.05)[1]}


def loses(traffic: Traffic, encoder: Encoder) -> list[dict[str, Any]]:
    """Two caches that cannot pay: the embedding costs as much as the model; and texts that never come again."""
    texts = [traffic.texts[i] for i in np.random.default_rng(0).permutation(len(traffic.texts))[:4_000]]
    embedding_s = encoder.seconds(texts[:100])
    told = []
    cases = [
        ("semantic, a model that costs as much as the embedding", embedding_s, True),
        ("semantic, a model that costs 100 embeddings", 100 * embedding_s, True),
        ("exact, no repeats, a model of 20 microseconds", 20e-6, False),
    ]
    for name, model_s, near in cases:
        threshold = Threshold(cosine=0.8, budget=0.5, max_entries=MAX_ENTRIES, alpha=0.05)
        semantic = Semantic(embed=in_thread(encoder.one), differs=_differs, threshold=threshold) if near else None
        prices = Prices(usd_per_request=model_s * USD_PER_S, usd_per_s=USD_PER_S)
        told.append({"case": name} | asyncio.run(_books(traffic, texts, prices, semantic)))
        print(told[-1], flush=True)
    return told


async def _books(traffic: Traffic, texts: list[str], prices: Prices, semantic: Semantic | None) -> dict[str, Any]:
    async def model(text: str) -> int:
        return int(traffic.answers[traffic.at[text]])

    front = cached(model, cache=None if semantic else Memory(), version="v", terms=prices, semantic=semantic, window=500)
    books, first = (front.near if semantic else front.exact), ""
    for text in texts:
        await front.ask(text, text=text if semantic else None)
        first = first or ("" if books.is_on else books.why)
    await front.settle()
    return {
        "requests": len(texts), "looked_up": books.hits + books.misses, "hits": books.hits, "switched": books.switched,
        "saved_usd_per_million": books.saved_usd / len(texts) * 1e6, "first_off": first, "now": books.why,
        "model_usd_per_million": prices.usd_per_request * 1e6,
    }  # fmt: skip


def whole(traffic: Traffic) -> dict[str, Any]:
    """Accuracy may fall by 0.02; half of that is the cache's. The proof on texts that nothing has seen."""
    floor = Floor(metric="accuracy", max_drop=0.02)
    budget = divide(floor, {"cache": 0.5, "cascade": 0.25, "compression": 0.25})["cache"]
    known = traffic.take(np.flatnonzero(traffic.labels >= 0))
    order = np.random.default_rng(0).permutation(len(known.texts))
    past, verify = known.take(order[: len(order) // 2]), known.take(order[len(order) // 2 :])
    terms = Terms(budget=budget, max_entries=MAX_ENTRIES)
    found = calibrate(past.texts, past.vectors, past.answers, differs=_differs, terms=terms)
    if found.threshold is None:
        return {"budget": budget, "reason": found.reason}
    requests = stream(verify.texts, verify.vectors, list(verify.scores))
    asked = Verify(requests=requests, original=verify.scores, labels=verify.labels)
    proof = certify_cached(asked, stream(past.texts, past.vectors, list(past.scores)), found.threshold, floor)
    (certificate,) = proof.certificates
    return {
        "budget": budget, "reason": found.reason, "verdict": certificate.verdict, "drop": certificate.drop,
        "upper_bound": certificate.upper_bound, "hits": proof.num_hits, "items": proof.num_items,
    }  # fmt: skip


def table(facts: dict[str, Any]) -> list[str]:
    embedding_s = facts["embedding_s"]
    lines = [
        "# The prediction cache on CLINC-150",
        "",
        f"One embedding (MiniLM, ONNX Runtime, one thread): {embedding_s * 1e3:.2f} ms.",
    ]
    lines += ["", "## A look among so many entries (milliseconds, median [quartiles])", ""]
    lines += [
        "| entries | exact (NumPy) | graph (usearch) | exact / graph | graph finds the nearest | filling the graph |",
        "|---|---|---|---|---|---|",
    ]
    for row in facts["looks"]:
        cells = {k: "{1:.3f} [{0:.3f}, {2:.3f}]".format(*(1e3 * s for s in v)) for k, v in row["seconds"].items()}
        ratio = row["seconds"]["exact"][1] / row["seconds"]["graph"][1]
        lines.append(
            f"| {row['size']:,} | {cells['exact']} | {cells['graph']} | {ratio:.2f} | {row['graph_agrees']:.1%} "
            f"| {row['fill_s']['graph']:.1f} s |"
        )
    lines += [
        "",
        "## The exact cache (microseconds, medians)",
        "",
        f"Writing a key down: {facts['storage']['key'] * 1e6:.1f}.",
        "",
    ]
    lines += ["| kept in | hit | miss | put |", "|---|---|---|---|"]
    for name, row in facts["storage"].items():
        if isinstance(row, dict):
            lines.append(f"| {name} | {row['hit'] * 1e6:.1f} | {row['miss'] * 1e6:.1f} | {row['put'] * 1e6:.1f} |")
    return lines + _budget_lines(facts) + _zipf_lines(facts) + _other_lines(facts)


def _budget_lines(facts: dict[str, Any]) -> list[str]:
    lines = ["", f"## Wrong hits, texts as they come, {len(SEEDS)} random halves", ""]
    lines += [
        f"Warm cache of at most {MAX_ENTRIES:,} entries; no counted text was calibrated on. Last columns: saved of the model's",
        f"cost (USD per million), net of embedding, looking and shadows ({SHADOW:.0%} of hits), for a model as dear as so many",
        "embeddings.",
        "",
        "| rule | budget | cosine | hits | wrong per request (95% bound) | worst half | above | rung | 1x | 10x | 100x |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted(
        {(r["rule"], r["budget"] or 9) for r in facts["budgets"]}, key=lambda k: (k[0].startswith("fixed"), k[1], k[0])
    )
    for rule, budget in keys:
        rows = [r for r in facts["budgets"] if r["rule"] == rule and (r["budget"] or 9) == budget]
        rates = [r["wrong"] / r["requests"] for r in rows]
        hits = float(np.mean([r["hits"] / r["requests"] for r in rows]))
        cosines = [r["cosine"] for r in rows if r["cosine"]]
        saved = [_saved(hits, facts, dear) for dear in DEAR]
        above = "-" if budget == 9 else f"{sum(rate > budget for rate in rates)} of {len(rows)}"
        shown = "-" if budget == 9 else f"{budget:.0%}"
        cosine = f"{min(cosines):g} to {max(cosines):g}" if cosines else "none"
        rung = "-" if budget == 9 else sum(r["broken"] for r in rows)
        bound = float(np.mean([r["upper"] for r in rows]))
        lines.append(
            f"| {rule} | {shown} | {cosine} | {hits:.1%} | {np.mean(rates):.2%} ({bound:.2%}) "
            f"| {max(rates):.2%} | {above} | {rung} | "
            + " | ".join(saved) + " |"
        )  # fmt: skip
    return lines


def _saved(hits: float, facts: dict[str, Any], dear: int) -> str:
    """Share of the model's cost, and USD per million requests: each pays embedding and look, an unshadowed hit saves."""
    look_s = next(r for r in facts["looks"] if r["size"] == 10_000)["seconds"]["exact"][1]
    call_s = dear * facts["embedding_s"]
    saved_s = hits * (1 - SHADOW) * call_s - facts["embedding_s"] - look_s
    return f"{saved_s / call_s:+.0%} ({saved_s * USD_PER_S * 1e6:+.3g})"


def _zipf_lines(facts: dict[str, Any]) -> list[str]:
    lines = ["", "## Zipf traffic: 30,000 requests over the later texts, both caches, two seeds", ""]
    lines += [
        "| semantic budget | exact hits | neighbours | model calls | wrong per request (95% bound) |",
        "|---|---|---|---|---|",
    ]
    for budget in (None, *BUDGETS):
        rows = [r for r in facts["zipf"] if r["budget"] == budget]
        if rows:
            mean = {k: float(np.mean([r[k] / r["requests"] for r in rows])) for k in ("exact", "neighbour", "model", "wrong")}
            name = "none" if budget is None else f"{budget:.0%}"
            bound = max(r["upper"] for r in rows)
            lines.append(
                f"| {name} | {mean['exact']:.1%} | {mean['neighbour']:.1%} | {mean['model']:.1%} "
                f"| {mean['wrong']:.3%} (worst {bound:.3%}) |"
            )
    return lines


def _other_lines(facts: dict[str, Any]) -> list[str]:
    lines = ["", "## Where it loses, and says so", ""]
    for row in facts["loses"]:
        lines.append(
            f"- {row['case']}: looked up {row['looked_up']:,} of {row['requests']:,}, {row['hits']} hits, "
            f"net {row['saved_usd_per_million']:+.4g} USD per million requests "
            f"(a call costs {row['model_usd_per_million']:.4g} per million). {row['first_off'] or row['now']}"
        )
    lines += ["", "## One floor, end to end", "", ", ".join(f"{k}: {v}" for k, v in facts["whole"].items())]
    return lines


def _differs(one: Any, other: Any) -> bool:
    return bool(one != other)


def _none(one: str, other: str) -> str | None:
    return None


def _none1(text: str) -> Array:
    raise AssertionError("embeddings are at hand")


def _timed(work: Callable[[], Any]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
