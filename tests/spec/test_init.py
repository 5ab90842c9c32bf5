"""Answers make a job file that `check` accepts; wrong ones are asked again or refused before anything is written."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from farthing.errors import JobError, StoreError
from farthing.spec.check import check
from farthing.spec.init import write_job

ANSWERS = {
    "Where does your model": "huggingface",
    "huggingface: path": "a-name/on-the-hub",
    "What kind of data": "jsonl",
    "jsonl: path": "texts.jsonl",
    "What does this machine cost": "0.085",
    "How is it used": "server",
}


def answering(asked: list[str] | None = None, **changes: str) -> Callable[..., str]:
    answers = ANSWERS | changes

    def ask(question: str, default: str | None = None) -> str:
        if asked is not None:
            asked.append(question)
        answer = next((answer for start, answer in answers.items() if start in question), default)
        assert answer is not None, question
        return answer

    return ask


def no(question: str) -> bool:
    return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("answers", "table", "expected"),
    [
        ({}, "traffic", {"scenario": "server", "rate_per_s": 10.0}),
        ({"99% of the answers": "0.05"}, "slo", {"latency_p99_s": 0.05}),
        ({"How is it used": "offline"}, "traffic", {"scenario": "offline", "num_items": 1000000, "deadline_s": 3600.0}),
        ({"How is it used": "single_stream"}, "traffic", {"scenario": "single_stream"}),
        ({"Which quality": "accuracy"}, "data", {"source": "jsonl", "path": "texts.jsonl", "input": "text", "label": "label"}),
        ({"Which column does": "a, b"}, "data", {"source": "jsonl", "path": "texts.jsonl", "input": ["a", "b"]}),
        ({"Which column does": 'odd "name"'}, "data", {"source": "jsonl", "path": "texts.jsonl", "input": 'odd "name"'}),
    ],
)
def test_written(answers: dict[str, str], table: str, expected: dict, folder: Path) -> None:
    path = folder / "job.toml"
    write_job(path, ask=answering(**answers), confirm=no)
    tables = tomllib.loads(path.read_text())
    assert tables[table] == expected
    check(tables, folder, "job.toml")
    assert path.read_text().startswith("# A job of farthing")


def test_a_choice_that_is_none_is_asked_again(folder: Path) -> None:
    asked: list[str] = []
    rest = answering(asked)
    wrong = iter(["hugingface"])
    write_job(
        folder / "job.toml",
        ask=lambda question, **kw: next(wrong, None) or rest(question, **kw) if "model" in question else rest(question, **kw),
        confirm=no,
    )
    assert asked[0].startswith("'hugingface' is none of them. Did you mean 'huggingface'? Where does your model come from?")


def test_nothing_is_written_from_wrong_answers(folder: Path) -> None:
    for answers, message in (
        ({"What does this machine cost": "little"}, "'little' is not a number"),
        ({"How is it used": "offline", "How many items": "1.5"}, "'1.5' is not a whole number"),
        ({"How many requests": "-1"}, r"rate_per_s = -1\.0: expected a number > 0"),
        ({"jsonl: path": "gone.jsonl"}, r"gone\.jsonl does not exist"),
        ({"Which quality": "cosin"}, "Did you mean 'cosine'"),
    ):
        with pytest.raises(JobError, match=message):
            write_job(folder / "job.toml", ask=answering(**answers), confirm=no)
        assert not (folder / "job.toml").exists()


def test_a_file_that_exists(folder: Path) -> None:
    path = folder / "job.toml"
    path.write_text("mine")
    with pytest.raises(JobError, match=r"job\.toml exists and was kept"):
        write_job(path, ask=answering(), confirm=no)
    assert path.read_text() == "mine"
    write_job(path, ask=answering(), confirm=lambda question: True)
    assert path.read_text() != "mine"


def test_a_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"job\.toml cannot be written"):
        write_job(folder / "gone" / "job.toml", ask=answering(**{"jsonl: path": str(folder / "texts.jsonl")}), confirm=no)
