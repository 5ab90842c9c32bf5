"""The question that every peer is asked: make MiniLM cheap on this shape; the cosine to the original may fall by MAX_DROP.

    python benchmarks/peers/question.py FOLDER

writes FOLDER/fixed32 and FOLDER/fixed128: `original.onnx` (any batch, any length) and `data.npz` (tokens, and the original's
answers). Run that with farthing's own Python. Each peer's script then runs in the peer's environment, reads the folder, and
leaves NAME.json there beside its model, whatever happens. Nothing but NumPy is needed to read a question.
"""

import json
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))

MAX_DROP = 0.01
LIMIT_S = 360  # of one flow: what farthing's jobs may take
BY_NAME = ("search, mended",)  # flows of an environment that somebody changed: only when asked for
SHAPES = {"fixed32": (1, 32), "fixed128": (32, 128)}  # batch, tokens
PARTS = {"calibrate": 64, "tune": 128, "fresh": 256}  # texts; the fresh ones are the last, which no peer sees
EXPORT = {"input_names": ["input_ids", "attention_mask"], "output_names": ["output"], "opset_version": 17}


@dataclass(frozen=True, kw_only=True)
class Question:
    folder: Path
    batch: int
    length: int
    tokens: dict[str, Any]  # part -> (n, length) int64
    answers: dict[str, Any]  # part -> (n, 384) float32, the original's, of length one

    @property
    def onnx(self) -> Path:
        return self.folder / "original.onnx"

    def feeds(self, part: str) -> list[dict[str, Any]]:
        """Whole batches of the shape that is asked about."""
        rows = self.tokens[part]
        return [_feed(rows[i : i + self.batch]) for i in range(0, len(rows), self.batch)]

    def drop(self, part: str, run: Callable[[dict[str, Any]], Any]) -> float:
        """1 - mean cosine between the answers of `run` and the original's."""
        found = np.concatenate([np.asarray(run(feeds), np.float64) for feeds in self.feeds(part)])
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(self.answers[part], axis=1)
        return 1.0 - float(((found * self.answers[part]).sum(1) / norms).mean())


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a flow hands back."""

    model: str  # file in the question's folder
    form: str  # onnx, openvino, exported (torch.export)
    precision: str  # int8, bfloat16, float32
    chose: str
    own_drop: float | None  # by the score it tuned with
    run: Callable[[dict[str, Any]], Any]


def read(folder: Path) -> Question:
    data = np.load(folder / "data.npz")
    batch, length = SHAPES[folder.name]
    parts = {kind: {part: data[f"{kind}_{part}"] for part in PARTS} for kind in ("tokens", "answers")}
    return Question(folder=folder, batch=batch, length=length, **parts)


def put(peer: str, packages: tuple[str, ...], flows: dict[str, Callable[[Question], Found]]) -> None:
    """Run the peer's flows (or those that are named after the folder); write `peer`.json after each, errors included."""
    question, names = read(Path(sys.argv[1])), sys.argv[2:] or [name for name in flows if name not in BY_NAME]
    file = question.folder / f"{peer}.json"
    record = json.loads(file.read_text()) if file.exists() else {"peer": peer, "flows": {}}
    record["versions"] = {name: metadata.version(name) for name in packages}
    for name in names:
        record["flows"][name] = {"error": "its process died"}  # unless it comes back
        _write(file, record)
        record["flows"][name] = _attempt(flows[name], question)
        _write(file, record)
        print(name, json.dumps(record["flows"][name], indent=1))


def _attempt(flow: Callable[[Question], Found], question: Question) -> dict[str, Any]:
    started = time.perf_counter()
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(LIMIT_S)
    try:
        found = flow(question)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a peer does wrong is its result
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames[-3:]]
        text = f"{type(error).__name__}: {error}"
        return {"seconds": time.perf_counter() - started, "error": plain(text)[:1500], "where": where}
    finally:
        signal.alarm(0)
    seconds = time.perf_counter() - started
    facts = {key: value for key, value in vars(found).items() if key != "run"}
    return facts | {"seconds": seconds, "error": None, "fresh_drop": question.drop("fresh", found.run)}


def plain(text: str) -> str:
    """Without the folders of this machine."""
    return re.sub(r"(?<![:/\w])(/[\w.+-]+)+/", "", text)


def _out_of_time(*_: object) -> None:
    raise TimeoutError(f"not done after {LIMIT_S} s")


def _write(path: Path, record: dict[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=1) + "\n")


def _feed(ids: Any) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def module() -> Any:
    """The original: MiniLM, its mean over the tokens, length one. Needs torch and transformers."""
    import sources
    import torch
    from transformers import AutoModel

    encoder = AutoModel.from_pretrained(sources._minilm()).eval()
    encoder.pooler = None  # it never reaches the answer

    class Embedder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return sources._pooled(self.encoder, input_ids, attention_mask)

    return Embedder().eval()


def export(path: Path) -> Path:
    """The original as ONNX, any batch and any length."""
    import torch

    axes = {0: "batch", 1: "length"}
    dynamic = {"input_ids": axes, "attention_mask": axes, "output": {0: "batch"}}
    example = torch.ones(2, 16, dtype=torch.long)
    torch.onnx.export(module(), (example, example), str(path), dynamo=False, dynamic_axes=dynamic, **EXPORT)
    return path


def tokens(texts: list[str], length: int) -> Any:
    """(n, length) ids; every text must be longer than that."""
    import sources
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(sources._minilm() / "tokenizer.json"))
    tokenizer.enable_truncation(length)
    tokenizer.no_padding()
    ids = np.array([encoding.ids for encoding in tokenizer.encode_batch(texts)], np.int64)
    assert ids.shape == (len(texts), length), "a text is shorter than the length that is asked about"
    return ids


def main(folder: Path) -> None:
    import sources
    import torch

    texts = sources.long_paragraphs()["text"]
    num_seen = PARTS["calibrate"] + PARTS["tune"]
    split = {
        "calibrate": texts[: PARTS["calibrate"]],
        "tune": texts[PARTS["calibrate"] : num_seen],
        "fresh": texts[-PARTS["fresh"] :],
    }
    assert len(texts) > sum(PARTS.values())
    original = module()
    for name, (_, length) in SHAPES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        export(folder / name / "original.onnx")
        data: dict[str, Any] = {}
        for part, chosen in split.items():
            ids = tokens(chosen, length)
            with torch.inference_mode():
                rows = [original(*map(torch.from_numpy, _feed(ids[i : i + 32]).values())) for i in range(0, len(ids), 32)]
            data |= {f"tokens_{part}": ids, f"answers_{part}": torch.cat(rows).numpy()}
        np.savez(folder / name / "data.npz", **data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
