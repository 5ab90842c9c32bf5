"""Whether a short review is glad: texts made from words that please, displease or turn round; and a small network."""

from typing import Any

import numpy as np

NUM_TEXTS, NUM_LEARNED, MAX_LENGTH = 9000, 5000, 16
IRONY = 0.04  # of the texts mean the contrary
GOOD = ("great", "lovely", "fast", "clean", "friendly", "tasty", "bright", "solid", "cheap", "quiet", "warm", "helpful")
BAD = ("awful", "slow", "dirty", "rude", "bland", "dark", "broken", "dear", "loud", "cold", "useless", "late")
THINGS = ("room", "phone", "meal", "driver", "screen", "staff", "coffee", "delivery", "book", "garden", "train", "battery")
TURNS = ("not", "never", "hardly")
DEGREES = ("", "very", "quite", "really", "rather")
SHAPES = ("the {t} was {p}", "{p} {t}", "the {t} is {p} and the {t2} {q}", "{t} {p} but {t2} {q}", "i found the {t} {p} today")


def held_out() -> dict[str, Any]:
    """`text` and whether it is `glad`."""
    texts, glad = _made()
    return {"text": texts[NUM_LEARNED:], "glad": glad[NUM_LEARNED:]}


def network() -> tuple[Any, ...]:
    """Word embeddings, a convolution over three words (so that it can see a "not") and the largest answer of each channel."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from torch import nn

    texts, glad = _made()
    words = sorted({word for text in texts for word in text.split()})
    ids = {word: i for i, word in enumerate(("[PAD]", "[UNK]", *words))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(len(ids), 128)
            self.look = nn.Conv1d(128, 256, 3, padding=1)
            self.head = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 2))

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            mask = attention_mask.unsqueeze(1).to(torch.float32)
            seen = torch.relu(self.look(self.embedding(input_ids).transpose(1, 2) * mask)) * mask
            return self.head(seen.amax(2))

    torch.manual_seed(0)
    model = Network()
    padded = np.zeros((NUM_LEARNED, MAX_LENGTH), np.int64)
    for row, text in enumerate(texts[:NUM_LEARNED]):
        known = [ids[word] for word in text.split()][:MAX_LENGTH]
        padded[row, : len(known)] = known
    inputs, labels = torch.from_numpy(padded), torch.from_numpy(glad[:NUM_LEARNED])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(6):
        for batch in torch.randperm(NUM_LEARNED).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch], (inputs[batch] > 0).long()), labels[batch]).backward()
            optimizer.step()
    example = inputs[:2, :6]
    return model.eval(), (example, (example > 0).long()), tokenizer, MAX_LENGTH


def _made() -> tuple[list[str], Any]:
    """Distinct texts, in a random order that is always the same; of two parts, the second decides."""
    draw = np.random.default_rng(0)
    found: dict[str, int] = {}
    while len(found) < NUM_TEXTS:
        (first, _), (second, glad) = _said(draw), _said(draw)
        shape = SHAPES[draw.integers(len(SHAPES))]
        thing, other = draw.choice(THINGS, 2, replace=False)
        if "{q}" not in shape:
            first = second
        text = shape.format(t=thing, t2=other, p=first, q=second)
        found[" ".join(text.split())] = glad ^ int(draw.random() < IRONY)
    return list(found), np.array(list(found.values()))


def _said(draw: Any) -> tuple[str, int]:
    """An opinion, and whether it is a glad one."""
    glad, turned = int(draw.integers(2)), bool(draw.random() < 0.3)
    words = (GOOD if glad else BAD)[draw.integers(12)]
    degree = DEGREES[draw.integers(len(DEGREES))]
    turn = TURNS[draw.integers(len(TURNS))] if turned else ""
    return f"{turn} {degree} {words}", glad ^ int(turned)
