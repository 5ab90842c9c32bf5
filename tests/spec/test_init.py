"""Answers make a job file that `optimize` reads at once; bad ones are told what is wrong and asked again; it always ends."""

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from farthing.dialogue import MAX_TRIES
from farthing.errors import JobError, StoreError
from farthing.spec import read
from farthing.spec.init import SCENARIOS, write_job
from farthing.types import Traffic

DEFAULT = ""  # the offered answer is taken
TEXTS = {"model": "huggingface", "path": ["a-name/on-the-hub", "texts.jsonl"], "data": "jsonl", "cost": "0.085"}


class Person:
    """Answers each question by the first of its words that is found in it; of a list, one answer after the other."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = {word: list(given) if isinstance(given, list) else [given] for word, given in answers.items()}
        self.asked: list[str] = []
        self.told: list[str] = []

    def ask(self, question: str) -> str:
        self.asked.append(question)
        word = next((word for word in self.answers if word in question), None)
        if word is None:
            return DEFAULT
        given = self.answers[word]
        return given.pop(0) if len(given) > 1 else given[0]


def interview(job: Path, /, **answers: Any) -> tuple[dict[str, Any], Person]:
    """The tables that were written, and what was said."""
    words = {"model": "Where does your model", "data": "What kind of data", "cost": "does this machine cost"}
    person = Person({words.get(word, word.replace("_", " ")): answer for word, answer in (TEXTS | answers).items()})
    write_job(job, ask=person.ask, tell=person.told.append)
    return tomllib.loads(job.read_text()), person


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """120 texts, some tables, and a factory of a model."""
    lines = [f'{{"id": {i}, "text": "text number {i}", "topic": "{"ab"[i % 2]}", "who": "c{i % 50}"}}\n' for i in range(120)]
    (tmp_path / "texts.jsonl").write_text("".join(lines))
    rows = [f"{i % 7},{i % 5},{i},{'yes' if i % 3 else 'no'},n{i}" for i in range(120)]
    (tmp_path / "table.csv").write_text("a,b,c,bought,note\n" + "\n".join(rows))
    (tmp_path / "raw.csv").write_text("\n".join(f"{i % 7},{i % 5},{i},{i % 3}" for i in range(120)))
    (tmp_path / "odd.csv").write_text("x[0],x[1],y\n" + "\n".join(f"{i},{i % 9},{i % 3}" for i in range(120)))
    (tmp_path / "pairs.csv").write_text("left,right,score\n" + "\n".join(f"a{i},b{i},{i / 10}" for i in range(120)))
    np.savez(tmp_path / "images.npz", image=np.random.default_rng(0).random((120, 4, 4)), label=np.arange(120) % 3)
    (tmp_path / "no_rows.csv").write_text("text,label\n")
    (tmp_path / "mine.py").write_text("def net(): ...\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


TABULAR = {"model": "python", "factory": "mine:net", "data": "csv", "path": "table.csv"}


@pytest.mark.parametrize(
    ("answers", "table", "expected"),
    [
        ({}, "model", {"source": "huggingface", "path": "a-name/on-the-hub"}),
        ({}, "floor", {"metric": "cosine", "max_drop": 0.01}),
        ({}, "data", {"source": "jsonl", "path": "texts.jsonl", "input": "text"}),
        ({"belong together": "who"}, "data", {"source": "jsonl", "path": "texts.jsonl", "input": "text", "group": "who"}),
        ({"Which_quality": "accuracy", "the_labels": "topic"}, "data",
         {"source": "jsonl", "path": "texts.jsonl", "label": "topic", "input": "text"}),
        ({}, "traffic", {"scenario": "server", "rate_per_s": 10.0}),
        ({"requests_per_second": "1e3"}, "traffic", {"scenario": "server", "rate_per_s": 1000.0}),
        ({"How_is_it_used": "2"}, "traffic", {"scenario": "offline", "num_items": 1_000_000, "deadline_s": 3600.0}),
        ({"How_is_it_used": "offline", "How_many_items": "5_000"}, "traffic",
         {"scenario": "offline", "num_items": 5000, "deadline_s": 3600.0}),
        ({"How_is_it_used": "single_stream"}, "traffic", {"scenario": "single_stream"}),
        ({"99_of_100": "0.05"}, "slo", {"latency_p99_s": 0.05}),
        ({"cost": "$0.1"}, "prices", {"usd_per_hour": 0.1}),
        ({"cost": "c6i.large"}, "prices", {"sku": "c6i.large"}),
        ({"fall_at_most": "0.5 %"}, "floor", {"metric": "cosine", "max_drop": 0.005}),
        ({"minutes": "5"}, "budget", {"minutes": 5.0}),
        (TABULAR | {"Which_quality": "accuracy", "the_labels": "bought"}, "data",
         {"source": "csv", "path": "table.csv", "label": "bought", "features": ["a", "b", "c"]}),
        (TABULAR | {"Which_quality": "accuracy", "the_labels": "bought", "the model read": "[ab]"}, "data",
         {"source": "csv", "path": "table.csv", "label": "bought", "features": ["[ab]"]}),
        (TABULAR | {"path": "odd.csv", "Which_quality": "accuracy", "the_labels": "y", "the_model_read": "x[0], x[1]"}, "data",
         {"source": "csv", "path": "odd.csv", "label": "y", "features": ["x[0]", "x[1]"]}),
        (TABULAR | {"path": "raw.csv", "Which_quality": "accuracy", "the_labels": "column_4"}, "data",
         {"source": "csv", "path": "raw.csv", "header": False, "label": "column_4", "features": ["*"]}),
        (TABULAR | {"data": "numpy", "path": "images.npz"}, "data",
         {"source": "numpy", "path": "images.npz", "label": "label", "input": "image"}),
        ({"data": "csv", "path": ["a-name/on-the-hub", "pairs.csv"]}, "data",
         {"source": "csv", "path": "pairs.csv", "label": "score", "input": ["left", "right"], "pair": True}),
        ({"data": "csv", "path": ["a-name/on-the-hub", "pairs.csv"]}, "floor", {"metric": "spearman", "max_drop": 0.01}),
    ],
)  # fmt: skip
def test_written(answers: dict[str, Any], table: str, expected: dict[str, Any], folder: Path) -> None:
    tables, _ = interview(folder / "job.toml", **answers)
    assert tables[table] == expected
    assert read(folder / "job.toml").name == "job"
    assert (folder / "job.toml").read_text().startswith("# A job of farthing")


def test_the_columns_and_the_metrics_are_shown(folder: Path) -> None:
    _, person = interview(folder / "job.toml")
    told = "\n".join(person.told)
    assert "120 rows; the columns:" in told
    assert "topic  texts, 2 different, like 'a'" in told and "id     numbers from 0 to 119" in told
    assert "cosine            against the original: Mean cosine between" in told
    assert "accuracy          against labels: Share of items whose class is the label" in told


def test_a_path_from_where_we_are_is_written_as_one_from_the_job(folder: Path) -> None:
    (folder / "jobs").mkdir()
    tables, _ = interview(folder / "jobs" / "job.toml")
    assert tables["data"]["path"] == "../texts.jsonl"


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"model": ["hugingface", "huggingface"]}, "'hugingface' is none of them. Did you mean 'huggingface'?"),
        ({"path": ["./gone", "a-name/on-the-hub", "texts.jsonl"]}, "no folder at"),
        ({"path": ["a-name/on-the-hub", "texts.json", "texts.jsonl"]}, "does not exist. Did you mean 'texts.jsonl'?"),
        ({"path": ["a-name/on-the-hub", "table.csv", "texts.jsonl"]}, "table.csv, line 1 is not JSON"),
        ({"data": "csv", "path": ["a-name/on-the-hub", "no_rows.csv", "pairs.csv"]}, "it has columns, but no rows"),
        ({"Which_quality": ["acuracy", "accuracy"], "the_labels": "topic"}, "Did you mean 'accuracy'?"),
        ({"Which_quality": ["cosine@3", "cosine"]}, "nothing may stand behind an @"),
        ({"Which_quality": ["math:sinn", "cosine"]}, "Did you mean 'sin'?"),
        ({"Which_quality": "accuracy", "the_labels": ["topik", "topic"]}, "data has no column 'topik'; it has: id, text"),
        ({"the_model_read": ["txt", "text"]}, "text, topic, who. Did you mean 'text'?"),
        ({"the_model_read": ["id", "text"]}, "the model reads texts, and these are numbers"),
        ({"the_model_read": ["text, id", "text"]}, "text and numbers cannot be read together"),
        ({"fall_at_most": ["little", "1%"]}, "'little' is not a number, such as 0.05, 1% or 1e6."),
        ({"fall_at_most": ["-1", "1%"]}, "'-1': expected a number > 0"),
        ({"How_is_it_used": "offline", "How_many_items": ["1,000", "1.5", "9"]}, "Write it without commas"),
        ({"How_is_it_used": "offline", "How_many_items": ["1.5", "9"]}, "'1.5' is not a whole number"),
        ({"cost": ["", "0.1"]}, "This needs an answer."),
        ({"cost": ["c6i.larg", "0.1"]}, "Did you mean 'c6i.large'?"),
        ({"cost": ["0", "0.1"]}, "'0': expected a number > 0"),
    ],
)  # fmt: skip
def test_a_bad_answer_is_asked_again_with_a_hint(answers: dict[str, Any], says: str, folder: Path) -> None:
    _, person = interview(folder / "job.toml", **answers)
    assert any(says in line for line in person.told), person.told
    read(folder / "job.toml")


def test_a_pickle_is_opened_only_after_a_yes(folder: Path) -> None:
    (folder / "model.pkl").write_bytes(b"never opened here")
    pickled = {"model": "sklearn", "path": ["model.pkl", "table.csv"], "data": "csv", "Which_quality": "accuracy"}
    tables, _ = interview(folder / "yes.toml", **pickled, the_labels="bought", trust_it="yes")
    assert tables["trust"] is True
    with pytest.raises(JobError, match="were of no use"):
        interview(folder / "no.toml", **pickled | {"path": "model.pkl"}, trust_it="no")


def test_a_text_model_in_onnx_is_asked_for_its_tokenizer(folder: Path) -> None:
    from farthing.testing import samples

    original = samples.in_form("encoder", "onnx", folder / "made")
    path = str(original.path.relative_to(folder))
    tables, _ = interview(folder / "job.toml", model="onnx", path=[path, "texts.jsonl"], in_tokens="32")
    assert tables["model"] == {
        "source": "onnx", "path": path, "tokenizer": str(original.directory / "tokenizer.json"), "max_length": 32
    }  # fmt: skip
    assert read(folder / "job.toml").model.name == "onnx"


def answers_that_end(count: int) -> Callable[[str], str]:
    given = iter(["huggingface", "a-name/on-the-hub", "jsonl"][:count])

    def ask(question: str) -> str:
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    return ask


@pytest.mark.parametrize("count", [0, 1, 3])
def test_answers_that_end_are_an_error_that_says_so(count: int, folder: Path) -> None:
    with pytest.raises(JobError, match=r"the answers ended at this question: .*Nothing was written"):
        write_job(folder / "job.toml", ask=answers_that_end(count), tell=lambda line: None)
    assert not (folder / "job.toml").exists()


def test_answers_that_end_at_a_question_within_a_question(folder: Path) -> None:
    """A CSV without names of its columns is asked about while its path is judged."""
    given = iter(["huggingface", "a-name/on-the-hub", "csv", "raw.csv"])
    told: list[str] = []

    def ask(question: str) -> str:
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    with pytest.raises(JobError, match="the answers ended at this question: header "):
        write_job(folder / "job.toml", ask=ask, tell=told.append)
    assert not any("the answers ended" in line for line in told)


def test_answers_that_never_fit_end_too(folder: Path) -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "y"

    with pytest.raises(JobError, match=f"{MAX_TRIES} answers in a row were of no use to this question: Where does your model"):
        write_job(folder / "job.toml", ask=ask, tell=lambda line: None)
    assert len(asked) == MAX_TRIES and not (folder / "job.toml").exists()


def test_a_file_that_exists(folder: Path) -> None:
    path = folder / "job.toml"
    path.write_text("mine")
    with pytest.raises(JobError, match=r"job\.toml exists and was kept"):
        interview(path)
    assert path.read_text() == "mine"
    interview(path, Overwrite="yes")
    assert path.read_text() != "mine"


def test_places_where_nothing_can_be_written(folder: Path) -> None:
    for path in (folder, folder / "gone" / "job.toml"):
        with pytest.raises(StoreError, match=r"cannot be written: it is a folder, or in none"):
            interview(path)


def test_data_that_cannot_carry_the_question_is_told_after_the_answers_are_kept(folder: Path) -> None:
    (folder / "few.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    with pytest.raises(JobError, match=r"job\.toml was written, but cannot be run yet: data: .* needs at least"):
        interview(folder / "job.toml", path=["a-name/on-the-hub", "few.jsonl"])
    assert tomllib.loads((folder / "job.toml").read_text())["data"]["path"] == "few.jsonl"


def test_every_scenario_has_its_line() -> None:
    assert set(SCENARIOS) == set(get_args(get_type_hints(Traffic)["scenario"]))
