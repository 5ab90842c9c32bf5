"""The call from Python: live objects, in a script that guards nothing, and nothing of the caller's is changed."""

import json
import subprocess
import sys

import pytest

from farthing.errors import JobError

SCRIPT = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
import farthing

pixels, digits = load_digits(return_X_y=True)
pixels = (pixels / 16).astype(np.float32)
model = LogisticRegression(max_iter=300).fit(pixels[::2], digits[::2])
before = model.coef_.copy()
decision = farthing.optimize(
    model=model,
    data=pixels[1::2],
    labels=digits[1::2],
    floor={"metric": "accuracy", "max_drop": 0.03},
    traffic={"scenario": "single_stream"},
    prices={"usd_per_hour": 0.1},
    budget={"minutes": 3},
    out=sys.argv[1],
)
assert (model.coef_ == before).all()
print(decision.verdict)
"""


def test_an_unguarded_script_with_live_objects(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "run")], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["saves"], ["keep"]), "the script ran once, not again in each worker"
    assert json.loads((tmp_path / "run" / "decision.json").read_text())
    assert (tmp_path / "run" / "artifact" / "manifest.json").is_file()


def test_a_module_learns_labels_and_the_callers_is_left_alone():
    import numpy as np
    import torch

    import farthing

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 7)).eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    rows = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    tasks = {"side": (rows, (rows[:, 0] > 0).astype(int)), "sum": (rows, rows.sum(1))}
    learned = farthing.adapt((module, rows[:2]), tasks, how="full", epochs=15, learning_rate=1e-2)
    side, total = learned(torch.from_numpy(rows))
    assert side.shape == (300, 2) and total.shape == (300, 1)
    assert (side.argmax(1).numpy() == tasks["side"][1]).mean() > 0.9
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    with pytest.raises(JobError, match="adapt\\(\\) has no setting 'rates'; it has: how, epochs"):
        farthing.adapt((module, rows[:2]), tasks, rates=1)
