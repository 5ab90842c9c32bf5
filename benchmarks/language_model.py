"""A character decoder of some 10 million weights on tiny Shakespeare: its text in three parts, its training, its losses."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from farthing.training import Schedule, fit

CONTEXT, WIDTH, HEADS, BLOCKS = 128, 384, 6, 6
NUM_VALIDATION, NUM_TEST = 400, 436  # blocks of CONTEXT characters at the end of the text: the test part is the last
SCHEDULE = Schedule(epochs=2, batch_size=16, learning_rate=1e-3, weight_decay=0.1, warmup=0.05, validation=0.03)
WEIGHTS = "language.pt"
NUM_CALIBRATION = 32  # windows of the training part


class RmsNorm(nn.Module):
    """x / sqrt(mean(x^2) + epsilon) * weight, written out: the tracing exporter to ONNX knows no operator for it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x_BLD: Any) -> Any:
        return x_BLD * torch.rsqrt(x_BLD.square().mean(-1, keepdim=True) + torch.finfo(torch.float32).eps) * self.weight


class Block(nn.Module):
    """Pre-norm; attention of every character to those before it, then a gated feed-forward net, as in Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = RmsNorm(), RmsNorm()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.gate, self.up = (nn.Linear(WIDTH, 8 * WIDTH // 3, bias=False) for _ in range(2))
        self.down = nn.Linear(8 * WIDTH // 3, WIDTH, bias=False)

    def forward(self, x_BLD: Any) -> Any:
        def split(y_BLD: Any) -> Any:
            return y_BLD.unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)

        y_BLD = self.attention_norm(x_BLD)
        seen_BHLd = nn.functional.scaled_dot_product_attention(
            split(self.query(y_BLD)), split(self.key(y_BLD)), split(self.value(y_BLD)), is_causal=True
        )
        x_BLD = x_BLD + self.out(seen_BHLd.transpose(1, 2).flatten(2))
        y_BLD = self.feed_norm(x_BLD)
        return x_BLD + self.down(nn.functional.silu(self.gate(y_BLD)) * self.up(y_BLD))


class Language(nn.Module):
    """(b, l) characters -> (b, l, v) scores of each next one."""

    def __init__(self, num_characters: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(num_characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm, self.head = RmsNorm(), nn.Linear(WIDTH, num_characters, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * BLOCKS) ** 0.5 if residual else 0.02)

    def forward(self, input_ids: Any) -> Any:
        x_BLD = self.embedding(input_ids) + self.position(torch.arange(input_ids.shape[1]))
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.head(self.norm(x_BLD))


def text() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(train, validation, test): characters as numbers; the test part is the end of the text, validation stands before it."""
    raw = (Path(os.environ["FARTHING_DATA"]) / "tinyshakespeare" / "input.txt").read_text()
    characters = {character: number for number, character in enumerate(sorted(set(raw)))}
    whole = np.array([characters[character] for character in raw], np.int64)
    test, validation = len(whole) - NUM_TEST * CONTEXT - 1, len(whole) - (NUM_TEST + NUM_VALIDATION) * CONTEXT - 1
    return whole[:validation], whole[validation:test], whole[test:]


def blocks(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, CONTEXT) what is read and what is to be said, in blocks side by side."""
    num_blocks = (len(part) - 1) // CONTEXT
    stop = num_blocks * CONTEXT
    return part[:stop].reshape(-1, CONTEXT), part[1 : stop + 1].reshape(-1, CONTEXT)


def windows(part: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(count, CONTEXT) stretches of the text from random places."""
    starts = np.random.default_rng(seed).integers(0, len(part) - CONTEXT, count)
    return part[starts[:, None] + np.arange(CONTEXT)]


def trained(folder: Path) -> Language:
    """The model, from `folder` where it was trained before; trained there otherwise, with checkpoints."""
    train, _, _ = text()
    torch.manual_seed(0)
    module, file = Language(int(train.max()) + 1), folder / WEIGHTS
    if not file.exists():
        starts = torch.from_numpy(np.arange(0, len(train) - CONTEXT - 1, CONTEXT))
        whole, places = torch.from_numpy(train), torch.arange(CONTEXT + 1)

        def loss(model: nn.Module, items: np.ndarray) -> torch.Tensor:
            window = whole[starts[items][:, None] + places]
            return nn.functional.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())

        fit(module, loss, np.ones(len(starts)), schedule=SCHEDULE, checkpoints=folder)
        torch.save(module.state_dict(), file)
    module.load_state_dict(torch.load(file, weights_only=True))
    return module.eval().requires_grad_(False)


def losses(module: Any, part: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """(n,) mean loss of each block of `part`, in nats a character."""
    read, said = blocks(part)
    found = []
    with torch.inference_mode():
        for i in range(0, len(read), batch_size):
            scores = module(torch.from_numpy(read[i : i + batch_size]))
            target = torch.from_numpy(said[i : i + batch_size])
            found.append(nn.functional.cross_entropy(scores.transpose(1, 2), target, reduction="none").mean(1).numpy())
    return np.concatenate(found)
