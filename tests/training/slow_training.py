"""A training that can be killed: python slow_training.py CHECKPOINTS [seconds a step]."""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from farthing.training import Schedule, fit, loop

loop.CHECKPOINT_S = 0.0
folder, pause_s = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.2
torch.manual_seed(0)
x, module, steps = torch.randn(200, 4), nn.Linear(4, 1), 0


def loss(model: nn.Module, items: np.ndarray) -> torch.Tensor:
    global steps
    steps += model.training
    time.sleep(pause_s)
    return ((model(x[items]) - 1.0) ** 2).mean()


fit(module, loss, np.ones(200), schedule=Schedule(epochs=3), checkpoints=folder, tell=lambda _: None)
print(steps)
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in module.parameters())).hexdigest())
