"""Live objects become a Job: pickled by value on entry, named by their bytes, read back by the source `live`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.errors import DataError, JobError, ModelError, StoreError
from farthing.model_sources.base import ModelSource
from farthing.spec import check_fit, read_live
from farthing.testing.model_sources import native_session
from farthing.types import Budget, Dataset, Floor, Job, MemberRef, Prices, Slo, Traffic

from . import TEXTS, mapping

TRAFFIC = Traffic(scenario="single_stream")
PRICES = Prices(usd_per_hour=0.1)
X = np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
Y = np.arange(200) % 3


def live(tmp_path: Path, **changes: Any) -> Job:
    """The job of texts and a model from a hub, with `changes`."""
    asked = {
        "model": {"source": "huggingface", "path": "a-name/on-the-hub"},
        "data": TEXTS,
        "floor": {"metric": "cosine", "max_drop": 0.01},
        "traffic": TRAFFIC,
        "prices": PRICES,
        "directory": tmp_path,
    }
    return read_live(**asked | changes)


def test_nouns_and_tables_say_the_same(tmp_path: Path) -> None:
    nouns = live(
        tmp_path,
        floor=[Floor(metric="cosine", max_drop=0.01)],
        traffic=Traffic(scenario="server", rate_per_s=5.0),
        slo=Slo(latency_p99_s=0.1),
        prices=Prices(source=MemberRef(name="snapshot"), sku="c6i.large"),
        budget=Budget(minutes=2.0),
    )
    tables = live(
        tmp_path,
        traffic={"scenario": "server", "rate_per_s": 5},
        slo={"latency_p99_s": 0.1},
        prices={"sku": "c6i.large"},
        budget={"minutes": 2},
        name="another",
    )
    assert nouns.digest == tables.digest
    assert (nouns.floors, nouns.traffic, nouns.slo, nouns.prices, nouns.budget) == (
        tables.floors,
        tables.traffic,
        tables.slo,
        tables.prices,
        tables.budget,
    )


def test_a_module_with_its_example(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 3)
    asked = live(tmp_path, model=(module, torch.zeros(2, 4)), data=X)
    knobs = dict(asked.model.knobs)
    assert asked.model.name == "live" and knobs["path"].parent == tmp_path / "live"
    obj, example = cloudpickle.loads(knobs["path"].read_bytes())
    assert example.shape == (2, 4)
    assert torch.equal(obj(torch.from_numpy(X)), module(torch.from_numpy(X)))
    assert asked.splits.search.columns[0].shape[1:] == (4,)
    assert live(tmp_path, model=(module, torch.zeros(2, 4)), data=X).digest == asked.digest
    with torch.no_grad():
        module.bias += 1
    assert live(tmp_path, model=(module, torch.zeros(2, 4)), data=X).digest != asked.digest


def test_an_estimator_with_labels(tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.LogisticRegression().fit(X, Y)
    asked = live(tmp_path, model=model, data=X, labels=Y, floor={"metric": "accuracy", "max_drop": 0.1})
    obj = cloudpickle.loads(dict(asked.model.knobs)["path"].read_bytes())
    assert np.array_equal(obj.coef_, model.coef_)
    assert set(asked.splits.verify.labels) == {0, 1, 2}


def words(texts: list[str]) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    ids = {word: i for i, word in enumerate(["<pad>", "<unk>", *sorted({word for text in texts for word in text.split()})])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


def encoder(num_words: int) -> Any:
    """Mean of two transformer layers' answers over the tokens of each text."""
    torch = pytest.importorskip("torch")

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(num_words, 16)
            self.layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)

        def forward(self, input_ids, attention_mask):
            mask_BL1 = attention_mask[..., None].float()
            hidden_BLD = self.layer(self.embedding(input_ids) * mask_BL1)
            return (hidden_BLD * mask_BL1).sum(1) / mask_BL1.sum(1)

    torch.manual_seed(0)
    return Encoder().eval()


def test_a_text_model_brings_its_tokenizer(tmp_path: Path) -> None:
    """It is read back by another process's source, and answers as the module does on the texts."""
    torch = pytest.importorskip("torch")
    tokenizer = words(TEXTS)
    module, ids = encoder(tokenizer.get_vocab_size()), torch.ones(2, 5, dtype=torch.int64)
    asked = live(tmp_path, model=(module, (ids, ids), tokenizer, 12))
    assert asked.digest == live(tmp_path, model=(module, (ids, ids), tokenizer, 12)).digest
    assert asked.digest != live(tmp_path, model=(module, (ids, ids), words([*TEXTS, "more words"]), 12)).digest
    (tmp_path / "model").mkdir()
    pipeline = plugins.make(ModelSource, asked.model).snapshot(tmp_path / "model", trust=False)
    assert (pipeline.max_length, pipeline.pad_id, [spec.name for spec in pipeline.inputs]) == (
        12,
        0,
        ["input_ids", "attention_mask"],
    )
    check_fit(asked.splits.search, pipeline)
    feeds = pipelines.feeds_of(pipeline, [(TEXTS[0],)], 1)[0]
    tokens = torch.tensor([tokenizer.encode(TEXTS[0]).ids])
    torch.testing.assert_close(
        torch.from_numpy(native_session(pipeline).run(feeds)[0]), module(tokens, torch.ones_like(tokens)).detach()
    )


def test_text_models_that_lack_something(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tokenizer = words(TEXTS)
    module, ids = encoder(tokenizer.get_vocab_size()), torch.ones(2, 5, dtype=torch.int64)
    for model, message in (
        ((module, (ids, ids), tokenizer), r"for texts \(Encoder, example_input, tokenizer, max_length\)"),
        ((module, (ids, ids), tokenizer, 0), "max_length is 0, expected a whole number of tokens > 0"),
        ((module, (ids, ids), len, 8), "no tokenizer: give a tokenizers.Tokenizer"),
        ((module, (ids, ids), tmp_path, 8), f"no tokenizer at {tmp_path}"),
    ):
        with pytest.raises((JobError, ModelError), match=message):
            live(tmp_path, model=model)


SCRIPT = """
import sys, numpy as np, torch
from pathlib import Path
from farthing.spec import read_live

class Mine(torch.nn.Module):
    words = {"a", "b", "c", "d"}
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(100))
    def forward(self, x):
        return x * self.weight * len(self.words)

job = read_live(model=(Mine(), torch.zeros(2, 100)), data=np.eye(100), floor={"metric": "cosine", "max_drop": 0.1},
                traffic={"scenario": "single_stream"}, prices={"usd_per_hour": 1}, directory=Path(sys.argv[1]))
print(dict(job.model.knobs)["path"], job.digest)
"""


def test_a_class_of_the_main_script_is_pickled_by_value_and_asks_the_same_in_every_process(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "script.py").write_text(SCRIPT)
    runs = [
        subprocess.run(
            [sys.executable, tmp_path / "script.py", tmp_path / out],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for out, seed in (("first", "1"), ("second", "2"))
    ]
    assert runs[0][1] == runs[1][1]
    obj, _ = cloudpickle.loads(Path(runs[0][0]).read_bytes())
    assert type(obj).__name__ == "Mine" and obj(torch.ones(1)).tolist() == [4.0] * 100


def test_kinds_of_data(tmp_path: Path) -> None:
    pairs = Dataset(columns=(TEXTS, TEXTS[::-1]), labels=np.linspace(0, 5, 200), slices={"kind": np.arange(200) % 2}, pair=True)
    asked = live(tmp_path, data=pairs, floor=Floor(metric="spearman", max_drop=0.1, slices="kind"))
    assert asked.splits.verify.pair and set(asked.splits.verify.slices["kind"]) == {0, 1}
    assert len(live(tmp_path, data=(X, X[:, 0])).splits.verify.columns) == 2
    table = {"columns": {"t": TEXTS, "who": ["a", "b", "c", "d"] * 50}, "input": "t", "limit": 150}
    assert sum(len(part) for part in vars_of(live(tmp_path, data=table))) == 150
    assert live(tmp_path, data=mapping({"text": TEXTS}) | {"input": "text"}).digest == live(tmp_path).digest


def vars_of(asked: Job) -> list[Dataset]:
    return [asked.splits.train, asked.splits.calibrate, asked.splits.search, asked.splits.verify]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"model": object()},
            JobError,
            r"model: object is none of \(torch.nn.Module, example_input\), .* a fitted scikit-learn",
        ),
        ({"model": {"source": "huggingfac", "path": "x"}}, JobError, "Did you mean 'huggingface'"),
        ({"data": "text"}, DataError, "input_0 is 'text', expected a list of texts or an array"),
        ({"data": [TEXTS[0], None, *TEXTS[2:]]}, DataError, "column 'input_0' is neither texts nor numbers"),
        ({"data": []}, DataError, "data has no rows"),
        ({"data": X, "labels": Y[:-1]}, DataError, "'label' has 199 rows but 'input_0' has 200"),
        ({"labels": Y}, JobError, "label = 'label' has no effect"),
        ({"data": mapping({"t": TEXTS}), "labels": Y}, JobError, r"labels has no effect beside a \[data\] table"),
        ({"floor": {"metric": "cosin", "max_drop": 0.1}}, JobError, "live: 1 mistake\n.*Did you mean 'cosine'"),
        ({"traffic": Traffic(scenario="server", rate_per_s=-1.0)}, JobError, "rate_per_s = -1.0: expected a number > 0"),
        ({"trsut": True}, JobError, "job trsut: unknown key; .*Did you mean 'trust'"),
    ],
)
def test_bad_calls(changes: dict, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        live(tmp_path, **changes)


def test_a_module_without_an_example_and_one_that_cannot_be_pickled(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(4, 3)
    with pytest.raises(JobError, match=r"model: give \(Linear, example_input\)"):
        live(tmp_path, model=module, data=X)
    module.open_file = (tmp_path / "f").open("w")
    with module.open_file, pytest.raises(JobError, match="model: Linear cannot be pickled"):
        live(tmp_path, model=(module, torch.zeros(2, 4)), data=X)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="the model cannot be written to"):
        live(tmp_path, model=(torch.nn.Linear(4, 3), torch.zeros(2, 4)), data=X, directory=tmp_path / "file")
