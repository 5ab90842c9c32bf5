"""Whether a user takes an item: two tables of embeddings and a small network, on clicks that hidden tastes have made."""

from typing import Any

import numpy as np

NUM_USERS, NUM_ITEMS, NUM_LEARNED, NUM_HELD_OUT, TASTES = 2000, 1000, 60_000, 4000, 6


def held_out() -> dict[str, Any]:
    """`user`, `item`, and whether it was `taken`: pairs that the network has not seen."""
    user, item, taken = (column[NUM_LEARNED:] for column in _clicks())
    return {"user": user, "item": item, "taken": taken}


def network() -> tuple[Any, ...]:
    import torch
    from torch import nn

    class Recommender(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users, self.items = nn.Embedding(NUM_USERS, 64), nn.Embedding(NUM_ITEMS, 64)
            self.network = nn.Sequential(nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2))

        def forward(self, user: Any, item: Any) -> Any:
            of_user, of_item = self.users(user), self.items(item)
            return self.network(torch.cat([of_user, of_item, of_user * of_item], dim=-1))

    torch.manual_seed(0)
    user, item, taken = (torch.from_numpy(column[:NUM_LEARNED]) for column in _clicks())
    model = Recommender()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    for _ in range(4):
        for batch in torch.randperm(NUM_LEARNED).split(512):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(user[batch], item[batch]), taken[batch]).backward()
            optimizer.step()
    return model.eval(), (user[:2], item[:2])


def _clicks() -> tuple[Any, Any, Any]:
    """Distinct pairs; taken where tastes agree, popularity and chance added."""
    draw = np.random.default_rng(0)
    tastes, kinds = draw.standard_normal((NUM_USERS, TASTES)), draw.standard_normal((NUM_ITEMS, TASTES))
    popular = draw.standard_normal(NUM_ITEMS)
    pairs = draw.choice(NUM_USERS * NUM_ITEMS, NUM_LEARNED + NUM_HELD_OUT, replace=False)
    user, item = pairs // NUM_ITEMS, pairs % NUM_ITEMS
    liked = (tastes[user] * kinds[item]).sum(1) / TASTES**0.5 + popular[item] + 0.5 * draw.standard_normal(len(pairs))
    return user.astype(np.int64), item.astype(np.int64), (liked > 0.3).astype(np.int64)
