"""A job file becomes a Job: read from disk, with its defaults, its digest and its override."""

import json
from pathlib import Path

import numpy as np
import pytest

from farthing.errors import DataError, JobError
from farthing.spec import read, read_floors
from farthing.types import Job

from . import TEXTS, job, mapping

FILE = """
name = "greetings"
seed = 7

[model]
source = "huggingface"
path = "a-name/on-the-hub"

[data]
source = "jsonl"
path = "texts.jsonl"
input = "text"
splits = { train = 0.2, calibrate = 0.1, search = 0.3, verify = 0.4 }

[[floor]]
metric = "cosine"
max_drop = 0.01

[[floor]]
metric = "topk_overlap@5"
minimum = 0.9
slices = "kind"

[traffic]
scenario = "server"
rate_per_s = 20

[prices]
sku = "c6i.large"

[search]
runtimes = ["openvino"]
"""


def folder(tmp_path: Path, text: str = FILE) -> Path:
    rows = [{"text": text, "kind": i % 3} for i, text in enumerate(TEXTS)]
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "greetings.toml").write_text(text)
    return tmp_path / "greetings.toml"


def simple(**changes: object) -> Job:
    return read(job(**{"data": mapping({"text": TEXTS}), **changes}))


def test_a_file(tmp_path: Path) -> None:
    asked = read(folder(tmp_path))
    assert (asked.name, asked.seed, asked.runtimes, asked.methods) == ("greetings", 7, ("openvino",), None)
    assert [floor.metric for floor in asked.floors] == ["cosine", "topk_overlap@5"]
    assert set(np.unique(asked.splits.search.slices["kind"])) == {0, 1, 2}
    assert sum(map(len, (asked.splits.train, asked.splits.calibrate, asked.splits.search, asked.splits.verify))) == len(TEXTS)
    assert asked.slo.ceilings() == () and asked.budget.minutes == 30.0


def test_the_digest_is_of_the_question_not_of_its_place(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here, there = folder(tmp_path / "a"), folder(tmp_path / "b")
    there = there.rename(tmp_path / "b" / "other.toml")
    assert read(here).digest == read(there).digest
    (tmp_path / "b" / "texts.jsonl").write_text(
        (tmp_path / "a" / "texts.jsonl").read_text().replace("number 3 ", "number three ")
    )
    assert read(here).digest != read(there).digest


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"trust": True},
        {"floor": {"max_drop": 0.02}},
        {"floor": {"slices": "text"}},
        {"traffic": {"rate_per_s": 21.0}},
        {"slo": {"latency_p99_s": 0.06}},
        {"prices": {"usd_per_hour": 0.09}},
        {"model": {"path": "another-name/on-the-hub"}},
        {"model": {"max_length": 64}},
        {"search": {"runtimes": ["openvino"]}},
    ],
    ids=str,
)
def test_every_change_of_the_question_changes_the_digest(change: dict) -> None:
    assert simple(**change).digest != simple().digest


def test_what_is_no_part_of_the_question() -> None:
    assert simple(name="another", budget={"minutes": 1}).digest == simple().digest


def test_the_model_counts_by_its_files(tmp_path: Path) -> None:
    def digest() -> str:
        return simple(model={"path": str(tmp_path / "encoder")}).digest

    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "config.json").write_text("{}")
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"1")
    first = digest()
    assert digest() == first
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"2")
    assert digest() != first


def test_minutes_override() -> None:
    tables = job(data=mapping({"text": TEXTS}), budget={"minutes": 9})
    assert read(tables, minutes=2).budget.minutes == 2
    assert tables["budget"] == {"minutes": 9}
    with pytest.raises(JobError, match=r"minutes = 0\.0: expected a number > 0"):
        read(tables, minutes=0)
    with pytest.raises(JobError, match="job budget = 5: expected a table"):
        read(job(data=mapping({"text": TEXTS}), budget=5), minutes=2)


def test_files_that_are_no_jobs(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"gone\.toml does not exist. Write one with: farthing init gone\.toml"):
        read(tmp_path / "gone.toml")
    with pytest.raises(JobError, match=r"is not TOML: .*line 2"):
        read(folder(tmp_path, "\n[model\n"))
    with pytest.raises(JobError, match="is a folder"):
        read(tmp_path)


def test_what_was_chosen_is_noted() -> None:
    assert simple().notes == ("splits by default: calibrate 10%, search 30%, verify 60%",)


def test_data_is_judged_after_the_tables() -> None:
    with pytest.raises(DataError, match=r"data has no column 'text'; it has: txt\. Did you mean 'txt'"):
        read(job(data=mapping({"txt": TEXTS})))


def test_a_job_that_is_a_folder_names_the_jobs_in_it(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is a folder: name a job file, or write one with farthing init"):
        read(tmp_path)
    (tmp_path / "mine.toml").write_text("")
    with pytest.raises(JobError, match=r"is a folder: name a job file in it: mine\.toml"):
        read(tmp_path)


def test_floors_are_read_where_neither_model_nor_data_is(tmp_path: Path) -> None:
    tables = job(model={"path": "/gone"}, data={"source": "csv", "factory": None, "path": "gone.csv"})
    assert [(floor.metric, floor.max_drop) for floor in read_floors(tables)] == [("cosine", 0.01)]
    with pytest.raises(JobError, match="Did you mean 'cosine'"):
        read_floors(job(floor={"metric": "cosin"}))
