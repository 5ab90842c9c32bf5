"""Factories of a project's own: modules that other processes can open without that project, texts, and wrong answers."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from farthing.errors import JobError
from farthing.model_sources.python import Python
from farthing.testing.model_sources import check_refuses, check_runs_as_described
from farthing.testing.samples import encoder_folder

PROJECT = """
import torch
from torch import nn
from {helper} import width

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(width(), classes)

    def forward(self, features, scale):
        return self.layer(features).relu() * scale, features.sum(1)

class Text(nn.Module):
    def forward(self, input_ids, attention_mask):
        return (input_ids * attention_mask).float().mean(1, keepdim=True)

class Bad(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, x):
        return {{
            "nan": lambda: x / x.sum() * float("nan"),
            "random": lambda: torch.rand_like(x),
            "dict": lambda: {{"x": x}},
            "no batch": lambda: x.sum(),
            "varies": lambda: x[x > 0],
            "raises": lambda: x @ x,
        }}[self.kind]()

def net(classes=3):
    return Net(classes), (torch.ones(2, width()), torch.ones(2, 1))

def text(tokenizer):
    ids = torch.ones(1, 8, dtype=torch.int64)
    return Text(), (ids, ids), tokenizer, 16

def estimator():
    from sklearn.linear_model import Ridge
    return Ridge().fit([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [1.0, 2.0, 3.0])

def bad(kind):
    return Bad(kind), torch.arange(6.0).reshape(2, 3) - 1

def nothing():
    return None

def unreadable():
    return open("no_such_weights.bin")
"""


def project(directory: Path, name: str) -> Path:
    """Two modules, named after the test: imported modules stay for the life of the process."""
    (directory / f"{name}_helper.py").write_text("def width():\n    return 4\n")
    (directory / f"{name}.py").write_text(textwrap.dedent(PROJECT.format(helper=f"{name}_helper")))
    return directory


def sample(directory: Path) -> Python:
    return Python(factory="sampled_project:net", args={"classes": 2}, root=project(directory, "sampled_project"))


def test_another_process_opens_it_without_the_project(tmp_path: Path) -> None:
    source = Python(factory="carried_project:net", root=project(tmp_path, "carried_project"))
    (tmp_path / "model").mkdir()
    pipeline = source.snapshot(tmp_path / "model", trust=False)
    assert [spec.name for spec in pipeline.inputs] == ["features", "scale"]
    assert [spec.shape for spec in pipeline.outputs] == [("batch", 3), ("batch",)]
    code = f"import pickle, torch; print(pickle.load(open({str(pipeline.path)!r}, 'rb'))(torch.ones(1, 4), torch.ones(1, 1)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/")
    assert answer.returncode == 0, answer.stderr


def test_texts_bring_their_tokenizer(tmp_path: Path) -> None:
    tokenizer = encoder_folder(tmp_path / "encoder")
    source = Python(factory="text_project:text", args={"tokenizer": str(tokenizer)}, root=project(tmp_path, "text_project"))
    (tmp_path / "model").mkdir()
    pipeline = source.snapshot(tmp_path / "model", trust=False)
    assert (pipeline.tokenizer, pipeline.max_length) == ("tokenizer.json", 16)
    assert [spec.shape for spec in pipeline.inputs] == [("batch", "length")] * 2
    check_runs_as_described(pipeline)


def test_estimators(tmp_path: Path) -> None:
    source = Python(factory="estimator_project:estimator", root=project(tmp_path, "estimator_project"))
    (tmp_path / "model").mkdir()
    pipeline = source.snapshot(tmp_path / "model", trust=False)
    assert (pipeline.form, pipeline.inputs[0].shape) == ("sklearn", ("batch", 2))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nan", ("holds NaN or infinity",)),
        ("random", ("differs between two runs", "switch off what is random")),
        ("dict", ("forward returned a dict", "return a tensor")),
        ("no batch", ("shape ()", "first axis must be the batch")),
        ("varies", ("follows neither batch nor length",)),
        ("raises", ("Bad does not run on x (2, 3)",)),
    ],
)
def test_models_that_cannot_be_optimized_say_why(kind: str, words: tuple[str, ...], tmp_path: Path) -> None:
    source = Python(factory="bad_project:bad", args={"kind": kind}, root=project(tmp_path, "bad_project"))
    check_refuses(source, tmp_path / "model", *words)


def test_what_a_factory_must_return_is_said(tmp_path: Path) -> None:
    root = project(tmp_path, "wrong_project")
    check_refuses(Python(factory="wrong_project:nothing", root=root), tmp_path / "one", "NoneType", "(module, example)")
    check_refuses(Python(factory="wrong_project:unreadable", root=root), tmp_path / "two", "no_such_weights.bin")
    check_refuses(Python(factory="wrong_project:net", args={"x": 1}, root=root), tmp_path / "three", "net(x) failed")
    with pytest.raises(JobError, match="Did you mean 'net'"):
        Python(factory="wrong_project:nett", root=root).snapshot(tmp_path, trust=False)
