"""What one accepted update leaves to the next: the replay buffer, and the items on which nothing may be lost."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from farthing import codec
from farthing.adaptation.replay import Reservoir, joined
from farthing.types import Array, Dataset

FILE = "memory.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`guarded` are the verify split and what earlier updates were judged on; `reference` (n, ...) what was answered to each
    by the model that first stood for it: the original, or the one that its update made. Losses cannot add up unseen."""

    replay: Reservoir
    guarded: Dataset
    reference: Array

    def after(self, learned: Dataset, judged: Dataset, answers: Array) -> "Memory":
        return Memory(
            replay=self.replay.after(learned),
            guarded=joined(self.guarded, judged),
            reference=np.concatenate([self.reference, answers]),
        )

    def write(self, directory: Path) -> None:
        facts = {"replay": self.replay.facts(), "guarded": self.guarded, "reference": self.reference}
        (directory / FILE).write_text(json.dumps(codec.to_json(facts)), encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> "Memory":
        facts = codec.from_json(json.loads((directory / FILE).read_text(encoding="utf-8")))
        return cls(replay=Reservoir(**facts["replay"]), guarded=facts["guarded"], reference=facts["reference"])
