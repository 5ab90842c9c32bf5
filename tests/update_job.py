"""A job whose small network knows one half of what it will be asked, and the run that `optimize` would have left behind."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

NUM_CLASSES, WIDTH = 3, 12

JOB = """
name = "update"

[model]
source = "python"
factory = "update_job:network"

[data]
source = "python"
factory = "update_job:old"
input = "input"
label = "label"
classes = [0, 1, 2]
splits = { train = 0.3, calibrate = 0.1, search = 0.1, verify = 0.5 }

[floor]
metric = "accuracy"
max_drop = 0.05

[traffic]
scenario = "single_stream"

[prices]
usd_per_hour = 0.1

[budget]
minutes = 5
"""


def rows(n, seed, *, new=False, wrong=False):
    """The class is where the first number falls; of new rows, whose second is large, the other way round."""
    inputs = np.random.default_rng(seed).standard_normal((n, WIDTH)).astype(np.float32)
    labels = np.digitize(inputs[:, 0], [-0.5, 0.5])
    if new:
        inputs[:, 1] += 4.0
        labels = NUM_CLASSES - 1 - labels
    if wrong:
        labels = (labels + 1) % NUM_CLASSES
    return {"input": inputs, "label": labels}


def old():
    return rows(2400, 1)


def network():
    """Trained on old rows that are in no split."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, NUM_CLASSES))
    known = {name: torch.from_numpy(value) for name, value in rows(3000, 2).items()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(known["input"]), known["label"]).backward()
        optimizer.step()
    return module.eval(), (known["input"][:2],)


def write(folder):
    shutil.copy(__file__, folder / "update_job.py")
    path = folder / "job.toml"
    path.write_text(JOB)
    return path


def jsonl(path, columns):
    lines = zip(columns["input"].tolist(), columns["label"].tolist(), strict=True)
    path.write_text("".join(json.dumps({"input": values, "label": label}) + "\n" for values, label in lines))
    return path


def finished(folder: Path, recipe, runtime):
    """A run of the job in `folder` that has chosen this recipe and runtime; nothing was searched."""
    from farthing import artifact, codec, plugins, spec, transform
    from farthing import pipeline as pipelines
    from farthing.model_sources.base import ModelSource
    from farthing.results import Candidate
    from farthing.store import Store
    from farthing.testing import decisions
    from farthing.types import Build, Context, Deployment, MemberRef

    path, run = write(folder), folder / "run"
    job = spec.read(path)
    build = Build(recipe=recipe, runtime=runtime)
    with Store.open(run, digest=job.digest, resume=False) as store:
        source = plugins.make(ModelSource, job.model)
        original = store.folder("original", "model", lambda place: source.snapshot(place, trust=False))
        context = Context(calibration=tuple(pipelines.feeds_of(original, job.splits.calibrate.requests[:64], 1)))
        built = store.folder("builds", "chosen", lambda place: transform.apply(original, build, place, context))
        plain = Deployment(build=Build(recipe=(), runtime=MemberRef(name="torch_eager")))
        decision = replace(
            decisions.keep(),
            job_name=job.name, job_digest=job.digest, floors=job.floors, saving=None,
            baseline=Candidate(deployment=plain), chosen=Candidate(deployment=Deployment(build=build)),
        )  # fmt: skip
        artifact.save(built, run / "artifact", decision=decision, original_digest=codec.digest_tree(original.directory))
    (run / "decision.json").write_text(json.dumps({"profile": None}))
    (run / "job.path").write_text(str(path))
    return run
