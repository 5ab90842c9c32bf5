"""BentoML with the artifact's own model file; SETTING in the environment is what is asked, as JSON."""

import json
import os

import bentoml
import numpy as np
import orjson
import serving_model

asked = json.loads(os.environ["SETTING"])
SERVICE = {
    "logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}, "workers": asked["workers"], "threads": 1,
    "traffic": {"timeout": 30},
}  # fmt: skip


@bentoml.service(**SERVICE)
class Alone:
    def __init__(self):
        self.encoder = serving_model.opened()

    @bentoml.api
    def predict(self, texts: list[str]) -> np.ndarray:
        return self.encoder(texts)


@bentoml.service(**SERVICE)
class Written:
    """The answer is written by us, since BentoML's own way to write an array is slow."""

    def __init__(self):
        self.encoder = serving_model.opened()

    @bentoml.api
    def predict(self, texts: list[str]) -> str:
        return orjson.dumps(self.encoder(texts), option=orjson.OPT_SERIALIZE_NUMPY).decode()


@bentoml.service(**SERVICE)
class Batched:
    def __init__(self):
        self.encoder = serving_model.opened()

    @bentoml.api(batchable=True, max_batch_size=max(2, asked["batch"]), max_latency_ms=max(1, round(asked["delay_s"] * 1e3)))
    def predict(self, texts: list[str]) -> np.ndarray:
        return self.encoder(texts)


Service = Batched if asked["batch"] > 1 else Written if asked.get("orjson") else Alone
