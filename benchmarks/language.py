"""Bits against perplexity: a small language model on tiny Shakespeare, its weights in 4 and 3 bits.

    python benchmarks/language.py FOLDER            train (once; FOLDER keeps the weights) and measure farthing's own methods
    PYTHON peers/bits.py FOLDER                     the reference libraries on the same weights, in an environment of theirs
    python benchmarks/language.py FOLDER report     -> results/language.json and .md

The text's end is the test part; calibration is 32 stretches of the training part. All methods read the same numbers.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import language_model as language
from farthing import plugins
from farthing.errors import BuildError
from farthing.forms import torch_form
from farthing.forms.packed import Packed
from farthing.methods.base import Method
from farthing.types import Context, MemberRef, Pipeline, TensorSpec

RESULTS = Path(__file__).parent / "results"
METHODS = ("rtn", "hqq", "gptq", "awq")
NOTE = (
    "`rtn` is `linear_bits(granularity = group, range = min_max, symmetric = false)` now; when this was taken it was a "
    "member of its own, which left embeddings in float32."
)
NEAREST = (("granularity", "group"), ("range", "min_max"), ("symmetric", False))
BITS, GROUP_SIZES = (3, 4), (64, 128)
INPUTS = (TensorSpec(name="input_ids", dtype="int64", shape=("batch", "length")),)
RESAMPLES = 10_000


def main(folder: Path, command: str = "measure") -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    {"measure": measure, "report": report}[command](folder)


def measure(folder: Path) -> None:
    """Losses of every block of the test part for each setting, kept in FOLDER as they come: what is there is not done again."""
    module, (train, _, test) = language.trained(folder), language.text()
    source, context = original(module, folder), Context(calibration=calibration(train))
    keep(folder, "float32", lambda: (language.losses(module, test), {"bits_per_weight": 32.0}))
    for size in GROUP_SIZES:
        for name in METHODS:
            for bits in BITS:
                ref = member(name, bits=bits, group_size=size)
                keep(folder, f"farthing {name} {bits} {size}", lambda ref=ref: judged(ref, source, context, test, folder))


def member(name: str, **knobs: int) -> MemberRef:
    """The method that results call `name`."""
    more = NEAREST if name == "rtn" else ()
    return MemberRef(name="linear_bits" if name == "rtn" else name, knobs=(*sorted(knobs.items()), *more))


def original(module: language.Language, folder: Path) -> Pipeline:
    directory = folder / "original"
    directory.mkdir(exist_ok=True)
    return torch_form.snapshot(module, INPUTS, {"input_ids": np.zeros((2, 5), np.int64)}, directory, max_length=None)


def calibration(train: np.ndarray) -> tuple[dict[str, np.ndarray], ...]:
    rows = language.windows(train, language.NUM_CALIBRATION, seed=1)
    return tuple({"input_ids": rows[i : i + 8]} for i in range(0, len(rows), 8))


def judged(ref: MemberRef, source: Pipeline, context: Context, test: np.ndarray, folder: Path) -> tuple[np.ndarray, Any]:
    method = plugins.make(Method, ref)  # type: ignore[type-abstract]
    started = time.perf_counter()
    result = method.apply(source, folder / "made" / str(ref), context)
    seconds = time.perf_counter() - started
    packed = torch_form.load(result)
    assert isinstance(packed, Packed)
    num_weights = sum(int(np.prod(tensor.shape)) for tensor in packed.tensors.values())
    bits_per_weight = 8 * sum(tensor.num_bytes for tensor in packed.tensors.values()) / num_weights
    facts = {"bits_per_weight": bits_per_weight, "file_bytes": result.path.stat().st_size, "seconds": seconds}
    return language.losses(packed, test), facts


def keep(folder: Path, name: str, make: Any) -> None:
    """losses/NAME.json: what `make` gives, or why it gave nothing."""
    file = folder / "losses" / f"{name}.json"
    if file.exists():
        return
    file.parent.mkdir(exist_ok=True)
    try:
        values, facts = make()
        found = {"losses": [round(float(value), 7) for value in values], **facts}
    except BuildError as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    file.write_text(json.dumps(found))
    print(name, found.get("error") or f"perplexity {np.exp(np.mean(found['losses'])):.4f}", flush=True)


def report(folder: Path) -> None:
    found = {file.stem: json.loads(file.read_text()) for file in sorted((folder / "losses").glob("*.json"))}
    rows = {name: row_of(name, found) for name in sorted(found, key=lambda name: (order(name), name))}
    facts = {"num_blocks": len(found["float32"]["losses"]), "characters_a_block": language.CONTEXT, "rows": rows}
    RESULTS.joinpath("language.json").write_text(json.dumps(facts, indent=1) + "\n")
    RESULTS.joinpath("language.md").write_text("\n".join(table(facts)) + "\n")
    print(*table(facts), sep="\n")


def order(name: str) -> tuple[int, int, int]:
    """float32 first, then by bits falling, group size, method."""
    words = name.split()
    if len(words) < 4:
        return (-99, 0, 0)
    return (-int(words[2]), int(words[3]), METHODS.index(words[1]))


def row_of(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Perplexity with its interval; the loss less that of round to nearest, and farthing's own loss less this one."""
    row = {key: value for key, value in found[name].items() if key != "losses"}
    if "error" in row:
        return row
    losses, words = np.array(found[name]["losses"]), name.split()
    row["perplexity"] = [float(np.exp(value)) for value in interval(losses)]
    row["loss_over_float32"] = list(interval(losses - np.array(found["float32"]["losses"])))
    against = {"loss_over_rtn": f"farthing rtn {words[-2]} {words[-1]}"} if len(words) == 4 else {}
    if len(words) == 4 and words[0] != "farthing":
        against["farthing_loss_over_this"] = f"farthing {words[1]} {words[2]} {words[3]}"
    for key, other in against.items():
        if other != name and "losses" in found.get(other, {}):
            difference = losses - np.array(found[other]["losses"])
            row[key] = list(interval(-difference if key == "farthing_loss_over_this" else difference))
    return row


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean, and the 2.5th and 97.5th percentile of the means of bootstrap resamples of the blocks."""
    draw = np.random.default_rng(0)
    means = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    return float(values.mean()), *(float(value) for value in np.percentile(means, (2.5, 97.5)))


def table(facts: dict[str, Any]) -> list[str]:
    lines = [
        "# Bits against perplexity (tiny Shakespeare, a character)",
        "",
        f"{facts['num_blocks']} test blocks of {facts['characters_a_block']} characters; intervals: 95%, bootstrap over "
        "blocks, paired for differences. Loss in thousandths of a nat a character; negative is better.",
        "",
        NOTE,
        "",
        "| who, method, bits, group | bits a weight | perplexity | over float32 | over our rtn | ours over this | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in facts["rows"].items():
        if "error" in row:
            lines.append(f"| {name} | | did not run: {row['error'][:200]} | | | | |")
            continue
        mean, low, high = row["perplexity"]
        cells = [spread(row.get(key)) for key in ("loss_over_float32", "loss_over_rtn", "farthing_loss_over_this")]
        bits = f"{row['bits_per_weight']:.2f}" if "bits_per_weight" in row else ""
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
        lines.append(f"| {name} | {bits} | {mean:.4f} [{low:.4f}, {high:.4f}] | {' | '.join(cells)} | {seconds} |")
    return lines


def spread(values: list[float] | None) -> str:
    return "" if values is None else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*(1e3 * value for value in values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
