"""BentoML with a model that does nothing; `bentoml serve` runs the class that SETTING in the environment asks for."""

import json
import os
from pathlib import Path

import bentoml

ANSWER = [0.1, 0.2, 0.3, 0.4, 0.5]
QUIET = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}
SETTINGS = json.loads((Path(__file__).parent / "serving_settings.json").read_text())["bentoml"]
chosen = SETTINGS[os.environ["SETTING"]].copy()
kind, max_latency_ms = chosen.pop("kind"), chosen.pop("max_latency_ms", 10)


@bentoml.service(**(QUIET | chosen))
class Async:
    @bentoml.api
    async def predict(self, inputs: list[list[int]]) -> dict[str, list[float]]:
        return {"answer": ANSWER}


@bentoml.service(**(QUIET | chosen))
class Sync:
    @bentoml.api
    def predict(self, inputs: list[list[int]]) -> dict[str, list[float]]:
        return {"answer": ANSWER}


@bentoml.service(**(QUIET | chosen))
class Batched:
    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=max_latency_ms)
    def predict(self, inputs: list[list[int]]) -> list[list[float]]:
        return [ANSWER] * len(inputs)


Service = {"async": Async, "def": Sync, "batched": Batched}[kind]
