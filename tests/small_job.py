"""A whole job that runs in seconds without torch: a forest on scikit-learn's digits, measured as any other model is."""

import shutil

import numpy as np

JOB = """
name = "small"
seed = 3

[model]
source = "python"
factory = "small_job:forest"

[data]
source = "python"
factory = "small_job:held_out"
input = "pixels"
label = "digit"
splits = {{ calibrate = 0.1, search = 0.3, verify = 0.6 }}

[floor]
metric = "accuracy"
max_drop = {max_drop}

[traffic]
scenario = "server"
rate_per_s = {rate}

[slo]
latency_p99_s = {p99}

[prices]
usd_per_hour = 0.1

[budget]
minutes = 5
"""


def write(folder, *, max_drop=0.03, rate=100, p99=2.0, extra=""):
    """The job file in `folder`, with this module beside it."""
    shutil.copy(__file__, folder / "small_job.py")
    path = folder / "job.toml"
    path.write_text(JOB.format(max_drop=max_drop, rate=rate, p99=p99) + extra)
    return path


def forest():
    from sklearn.ensemble import RandomForestClassifier

    pixels, digits = _digits()
    return RandomForestClassifier(n_estimators=20, random_state=0).fit(pixels[::2], digits[::2])


def held_out():
    pixels, digits = _digits()
    return {"pixels": pixels[1::2], "digit": digits[1::2]}


def _digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (bunch.data / 16).astype(np.float32), bunch.target.astype(np.int64)
