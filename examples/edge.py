"""A small convolutional network for a device with little room, trained on two fifths of the digits of scikit-learn."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
EPOCHS, TRAINED_SHARE = 20, 0.4


def held_out() -> dict[str, Array]:
    """The other digits: `image` (n, 1, 8, 8) in [0, 1], `digit` (n,). Methods that learn get a part of them."""
    _, _, images, digits = _parts()
    return {"image": images, "digit": digits}


def network() -> tuple[Any, tuple[Any, ...]]:
    """The trained network and an example of its input, for `source = "python"`."""
    import torch
    from torch import nn

    images, digits, _, _ = (torch.from_numpy(part) for part in _parts())
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(32):
            loss = nn.functional.cross_entropy(model(images[batch]), digits[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval(), (images[:2],)


def _parts() -> tuple[Array, Array, Array, Array]:
    """Images and digits to train on, then those that are held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images[:, None] / 16).astype(np.float32)
    digits = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    train, rest = np.split(order, [int(TRAINED_SHARE * len(order))])
    return images[train], digits[train], images[rest], digits[rest]
