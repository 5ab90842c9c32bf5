"""An artifact's model file as farthing runs it, without farthing: OpenVINO, same precision, threads, tokenizer and padding."""

import json
import os
from pathlib import Path

import numpy as np
import openvino
from tokenizers import Tokenizer


class Encoder:
    def __init__(self, directory, threads, pad_to=1):
        facts = json.loads((directory / "pipeline.json").read_text())
        self.max_length, self.pad_to = facts["max_length"], pad_to
        self.pad_id, self.names = facts["pad_id"], [one["name"] for one in facts["inputs"]]
        self.tokenizer = Tokenizer.from_file(str(directory / facts["tokenizer"]))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(facts["max_length"])
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if "bf16" in facts["traits"] else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # else the threads of two processes meet on one core
        }
        self.run = openvino.Core().compile_model(str(directory / facts["file"]), "CPU", options).create_infer_request()
        self(["warm"])

    def __call__(self, texts):
        """(n, width) float32."""
        encodings = self.tokenizer.encode_batch_fast(list(texts))
        longest = max(len(one.ids) for one in encodings)
        longest = min(-(-longest // self.pad_to) * self.pad_to, self.max_length)
        feeds = {
            "input_ids": np.full((len(texts), longest), self.pad_id, np.int64),
            "attention_mask": np.zeros((len(texts), longest), np.int64),
        }
        for row, one in enumerate(encodings):
            feeds["input_ids"][row, : len(one.ids)] = one.ids
            feeds["attention_mask"][row, : len(one.ids)] = one.attention_mask
        return np.array(self.run.infer({name: feeds[name] for name in self.names})[0])


def opened():
    """What ARTIFACT, THREADS and PAD_TO in the environment say."""
    return Encoder(Path(os.environ["ARTIFACT"]), int(os.environ["THREADS"]), int(os.environ.get("PAD_TO", "1")))
