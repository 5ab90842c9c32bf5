"""What limits the original, by which evidence, and the most that mending it can save. Pure: measures in, findings out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from farthing.diagnosis.sensitivity import Sensitivities
from farthing.results import Device, Finding, Op
from farthing.types import Array
from farthing.units import mib, ms

LEAST_SAVING = 0.02  # share of the cost; what saves less is skipped
BATCH_OF_BUCKETS = 32  # batches in which length bucketing is judged, whatever the original's own are
CONCENTRATED = 1 / 3  # share of the layers that must carry most of the int8 error, or keeping them in float gains little
FUSIBLE = {"elementwise", "norm", "softmax", "copy", "reduction", "view"}  # a fused kernel never writes their results
ITEM_SHARE = {"bfloat16": 0.5, "int8": 0.25}  # bytes of a value over those of a float32
REMEDIES = {  # cause -> the family of methods that mends it
    "compute": "low precision and faster kernels",
    "memory": "fusion and narrower data",
    "overhead": "cutting the overhead of calls",
    "padding": "length bucketing",
    "host": "faster tokenizing",
    "oversubscription": "fewer threads per stream",
    "sensitivity": "mixed precision",
}
FAMILIES = {"bfloat16": "bf16", "int8": "int8"}  # precision -> family of methods


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is judged: one batch of the original as it is run today, and the requests it serves."""

    ops: tuple[Op, ...]  # of one batch, adding up to batch_s; none: its form has no timeline
    device: Device
    batch_size: int
    threads: int
    batch_s: float
    host_s: float  # encoding and collating, per request
    lengths: Array  # tokens of each request in order of arrival
    batch_s_by_threads: Mapping[int, float]
    layers: Sensitivities = field(default_factory=Sensitivities)
    float_weights: bool = True

    @property
    def total_s(self) -> float:
        """One batch, host included."""
        return self.batch_s + self.host_s * self.batch_size

    @property
    def model_share(self) -> float:
        return self.batch_s / self.total_s


def findings(measures: Measures) -> tuple[Finding, ...]:
    """The limits whose mending can save at least LEAST_SAVING, the largest bound first."""
    paying = [finding for finding in _all(measures) if finding.max_saving >= LEAST_SAVING]
    return tuple(sorted(paying, key=lambda finding: -finding.max_saving))


def skipped(measures: Measures) -> tuple[tuple[str, str], ...]:
    """(family of methods, why it cannot pay here) for causes below LEAST_SAVING and precisions without a faster peak."""
    poor = [
        finding for finding in _all(measures) if finding.max_saving < LEAST_SAVING and not _pays_in_batches(finding, measures)
    ]
    families = [
        (REMEDIES[finding.cause], f"saves at most {max(0.0, finding.max_saving):.1%}: {finding.evidence}") for finding in poor
    ]
    precisions = [(family, reason) for dtype, family in FAMILIES.items() if (reason := _useless(measures, dtype))]
    return (*families, *precisions)


def padded_lengths(lengths: Array, batch_size: int) -> Array:
    """(ceil(n / batch_size),) longest length of each batch, batches filled in the order given."""
    return np.array([lengths[i : i + batch_size].max() for i in range(0, len(lengths), batch_size)])


def _all(m: Measures) -> list[Finding]:
    of_operators = [_compute(m), _memory(m), _overhead(m)] if m.ops else []
    of_layers = [_sensitivity(m)] if m.ops and m.layers.errors else []
    return [*of_operators, _padding(m, m.batch_size), _host(m), _oversubscription(m), *of_layers]


def _compute(m: Measures) -> Finding:
    """Bound: the same FLOPs at the fastest peak of any precision."""
    ops = _bound_by(m, "compute")
    fastest = max(m.device.flops_per_s, key=m.device.flops_per_s.__getitem__) if m.float_weights else "float32"
    ratio = max(1.0, _peak_ratio(m, fastest))
    roof_s = sum(op.seconds * op.roofline_fraction for op in ops)
    return _finding(
        m,
        "compute",
        ops,
        left_s=roof_s / ratio,
        evidence=(
            f"{_kinds(ops)} at {_fraction(ops):.0%} of the peak; {fastest} peaks at {ratio:.1f}x float32"
            if ops
            else "no operator is held up by arithmetic"
        ),
    )


def _memory(m: Measures) -> Finding:
    """Bound: fusible operators vanish into their neighbours, the others move the narrowest data at full bandwidth."""
    ops = _bound_by(m, "memory")
    narrow = ITEM_SHARE["int8"] if m.float_weights else 1.0
    left_s = sum(op.seconds * op.roofline_fraction * narrow for op in ops if op.kind not in FUSIBLE)
    moved = sum(op.bytes for op in ops)
    evidence = f"{_kinds(ops)} move {mib(moved):.1f} MiB a batch at {_fraction(ops):.0%} of the memory's bandwidth"
    if not ops:
        evidence = "no operator is held up by the memory"
    return _finding(m, "memory", ops, left_s=left_s, evidence=evidence)


def _overhead(m: Measures) -> Finding:
    """Bound: nothing remains but what the ceilings ask for."""
    ops = _bound_by(m, "overhead")
    between_s = sum(op.seconds for op in ops if op.kind == "dispatch")
    roof_s = sum(op.seconds * op.roofline_fraction for op in ops)
    evidence = (
        f"{ms(between_s):.2f} ms of a batch pass between operators and {ms(_seconds(ops) - between_s):.2f} ms in operators "
        f"too short for the cost of their call; the ceilings ask for {ms(roof_s):.2f} ms"
    )
    return _finding(m, "overhead", ops, left_s=roof_s, evidence=evidence)


def _padding(m: Measures, batch_size: int) -> Finding:
    """Bound: no padded token is computed."""
    waste = _waste(m, m.lengths, batch_size)
    sorted_waste = _waste(m, np.sort(m.lengths), batch_size)
    evidence = (
        f"lengths of {m.lengths.min()} to {m.lengths.max()} tokens in batches of {batch_size}: {waste:.0%} of the work is "
        f"padding in order of arrival, {sorted_waste:.0%} sorted by length"
    )
    if m.lengths.min() == m.lengths.max():
        evidence = f"all requests have one length, {m.lengths[0]}"
    share = m.model_share * waste
    return Finding(cause="padding", share=share, evidence=evidence, max_saving=share)


def _host(m: Measures) -> Finding:
    """Bound: the host's work is hidden behind the model's, or gone."""
    share = 1.0 - m.model_share
    evidence = f"encoding and collating take {ms(m.host_s):.3f} ms of {ms(m.total_s / m.batch_size):.3f} ms per request"
    return Finding(cause="host", share=share, evidence=evidence, max_saving=share)


def _oversubscription(m: Measures) -> Finding:
    """Bound: as many streams of the best number of threads as there are cores, none slowing another."""
    cores = m.device.num_cores
    core_s = {threads: min(threads, cores) * seconds for threads, seconds in m.batch_s_by_threads.items()}
    best = min(core_s, key=lambda threads: (core_s[threads], threads))
    saving = max(0.0, 1.0 - core_s[best] / core_s[m.threads]) * m.model_share
    evidence = (
        f"a batch takes {ms(core_s[m.threads]):.2f} core-ms with threads={m.threads} on {cores} cores, "
        f"{ms(core_s[best]):.2f} with threads={best}"
    )
    return Finding(cause="oversubscription", share=m.model_share, evidence=evidence, max_saving=saving)


def _sensitivity(m: Measures) -> Finding:
    """A few layers carry int8's error. Bound: every product in int8, as if keeping those few in float cost nothing."""
    squares = np.cumsum([error**2 for _, error in m.layers.errors])
    num_worst = int(np.searchsorted(squares, squares[-1] / 2)) + 1
    named = ", ".join(f"{layer} {error:.2g}" for layer, error in m.layers.errors[: min(num_worst, 3)])
    untried = f" ({m.layers.num_untried} smaller ones untried)" if m.layers.num_untried else ""
    evidence = f"{num_worst} of {len(squares)} layers{untried} carry half of int8's squared error: {named}"
    share = sum(op.seconds for op in m.ops if op.kind in ("linear", "conv")) / m.total_s
    pays = num_worst <= CONCENTRATED * len(squares)
    saving = share * (1.0 - 1.0 / max(1.0, _peak_ratio(m, "int8"))) if pays else 0.0
    return Finding(cause="sensitivity", share=share, evidence=evidence, max_saving=saving)


def _finding(m: Measures, cause: str, ops: Sequence[Op], *, left_s: float, evidence: str) -> Finding:
    """Amdahl (1967): with speedup k of a share s, 1 - 1/speedup = 1 - ((1 - s) + s / k) = (time spent - time left) / total."""
    spent_s = _seconds(ops)
    share = spent_s / m.total_s
    return Finding(
        cause=cause, share=share, evidence=f"{share:.0%} of the time: {evidence}", max_saving=(spent_s - left_s) / m.total_s
    )


def _pays_in_batches(finding: Finding, m: Measures) -> bool:
    """Padding that the original avoids by small batches would come back with the larger ones that are tried."""
    return finding.cause == "padding" and _padding(m, max(m.batch_size, BATCH_OF_BUCKETS)).max_saving >= LEAST_SAVING


def _useless(m: Measures, dtype: str) -> str | None:
    """Why this precision cannot pay at unchanged efficiency, or None if it can or nothing is known of it.

    Of the time beside launches: another runtime may take those away (CUDA graphs), and then products are what is left.
    """
    if not m.float_weights:
        return "the original's weights are not float32"
    if not m.ops or not _peak_ratio(m, dtype):
        return None
    ratio, share = _peak_ratio(m, dtype), ITEM_SHARE[dtype]
    products_s = _seconds(_bound_by(m, "compute"))
    streams_s = sum(op.seconds for op in _bound_by(m, "memory"))
    rest_s = max(m.total_s - sum(op.seconds for op in _bound_by(m, "overhead")), 1e-12)
    if (products_s * (1.0 - 1.0 / ratio) + streams_s * (1.0 - share)) / rest_s >= LEAST_SAVING:
        return None
    bound = f"arithmetic binds {products_s / rest_s:.0%} of the time beside launches, memory {streams_s / rest_s:.0%}"
    return f"this device's {dtype} peak is {ratio:.2g}x its float32 peak; {bound}"


def _peak_ratio(m: Measures, dtype: str) -> float:
    return m.device.flops_per_s.get(dtype, 0.0) / m.device.flops_per_s["float32"]


def _waste(m: Measures, lengths: Array, batch_size: int) -> float:
    """Share of the padded work that is padding; work(L) ~ (1 - a) L + a L^2 / mean, a the attention's share of the FLOPs."""
    quadratic = sum(op.flops for op in m.ops if op.kind in ("attention", "matmul"))
    a = quadratic / (sum(op.flops for op in m.ops) or 1.0)

    def work(values: Array) -> Array:
        return np.asarray((1.0 - a) * values + a * values**2 / lengths.mean())

    rows = np.minimum(batch_size, len(lengths) - np.arange(0, len(lengths), batch_size))
    return float(1.0 - work(lengths).sum() / (rows * work(padded_lengths(lengths, batch_size))).sum())


def _bound_by(m: Measures, bound: str) -> list[Op]:
    return [op for op in m.ops if op.bound == bound]


def _seconds(ops: Sequence[Op]) -> float:
    return sum(op.seconds for op in ops)


def _fraction(ops: Sequence[Op]) -> float:
    """Of the roof, over all of `ops`."""
    return sum(op.seconds * op.roofline_fraction for op in ops) / (_seconds(ops) or 1.0)


def _kinds(ops: Sequence[Op]) -> str:
    """The three kinds that take longest."""
    seconds: dict[str, float] = {}
    for op in ops:
        seconds[op.kind] = seconds.get(op.kind, 0.0) + op.seconds
    return ", ".join(sorted(seconds, key=lambda kind: -seconds[kind])[:3]) or "no operator"
