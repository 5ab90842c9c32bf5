"""The model file as fast as it goes offline, one process: TEXTS BATCH SECONDS. Like lengths together; prints texts a second."""

import json
import sys
import time
from pathlib import Path

import serving_model

texts = sorted(json.loads(Path(sys.argv[1]).read_text()), key=len)
batch, seconds = int(sys.argv[2]), float(sys.argv[3])
encoder, done, i = serving_model.opened(), 0, 0
batches = [texts[j : j + batch] for j in range(0, len(texts), batch)]
order = sorted(range(len(batches)), key=lambda j: (j * 7919) % len(batches))  # every length at any time
started = time.perf_counter()
while time.perf_counter() < started + seconds:
    texts = batches[order[i % len(order)]]
    encoder(texts)
    done, i = done + len(texts), i + 1
print(done / (time.perf_counter() - started))
