"""A run learns from new data: accepted only where new data gains and old data loses nothing, the same recipe applied again."""

import shutil

import numpy as np
import pytest

from farthing import artifact, codec, updating
from farthing.adaptation import Adaptation
from farthing.adaptation.verdict import read
from farthing.errors import ArtifactError, BuildError, DataError, JobError, StoreError
from farthing.forms import torch_form
from farthing.types import MemberRef

from . import update_job

EAGER = MemberRef(name="torch_eager")
BF16 = MemberRef(name="bf16_weights")
FULL = Adaptation(how="full", epochs=20, learning_rate=5e-3)


def update(run, data, **how):
    return updating.update(run, data, **{"adaptation": FULL, "tell": lambda _: None} | how)


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """The folder of a run that chose bf16 weights; copied by tests that update it."""
    folder = tmp_path_factory.mktemp("compressed")
    update_job.finished(folder, (BF16,), EAGER)
    return folder


@pytest.fixture
def run(compressed, tmp_path, monkeypatch):
    monkeypatch.setenv("FARTHING_HOME", str(tmp_path / "state"))
    shutil.copytree(compressed / "run", tmp_path / "run")
    return tmp_path / "run"


def new_rows(tmp_path, n=500, seed=7, **how):
    return update_job.jsonl(tmp_path / f"new{seed}.jsonl", update_job.rows(n, seed, **how))


def accuracy(pipeline, columns):
    session = torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=1)
    return float((session.run({"input": columns["input"]})[0].argmax(1) == columns["label"]).mean())


def test_new_data_is_learned_old_data_is_kept_and_the_recipe_is_applied_again(run, tmp_path):
    before = codec.digest_tree(run)
    verdict = update(run, new_rows(tmp_path, new=True))
    assert verdict.accepted, verdict.reason
    assert [guard.about for guard in verdict.guards] == [
        "the adapted model, new data", "the adapted model, old data", "the deployed build, new data",
        "the deployed build, old data", "the deployed build against the adapted model",
    ]  # fmt: skip
    packed = artifact.load(run / "updates" / "001" / "artifact", trust=True)
    assert packed.manifest.deployment.build.recipe == (BF16,) and "bf16" in packed.pipeline.traits
    assert accuracy(packed.pipeline, update_job.rows(2000, 9, new=True)) > 0.8
    assert accuracy(packed.pipeline, update_job.rows(2000, 10)) > 0.9
    shutil.move(run / "updates", tmp_path / "updates")
    assert codec.digest_tree(run) == before, "what was there stays as it was"

    shutil.move(tmp_path / "updates", run / "updates")  # the next begins with what the first has learned, and guards it too
    second = update(run, new_rows(tmp_path, seed=8, wrong=True, new=True))
    assert not second.accepted and second.number == 2
    assert "old data: no floor is broken" in second.reason
    assert second.guards[-1].certificates[0].num_items > verdict.guards[1].certificates[0].num_items
    assert not (run / "updates" / "002" / "artifact").exists()


def test_an_update_that_breaks_the_floor_on_old_data_is_refused_and_all_stays(run, tmp_path):
    """The new rows contradict the old ones."""
    verdict = update(run, new_rows(tmp_path, n=1500, wrong=True))
    assert not verdict.accepted and "the adapted model, old data: no floor is broken" in verdict.reason
    folder = run / "updates" / "001"
    assert "refused" in (folder / "verdict.md").read_text() and not (folder / "artifact").exists()
    assert read(folder / "verdict.json") == verdict
    assert updating.standing(run).deployed == run / "artifact"


def test_what_does_not_get_better_is_refused_and_one_that_was_killed_goes_on_where_it_was(run, tmp_path, monkeypatch):
    data = new_rows(tmp_path)
    calls = []
    learn = updating._Update._call

    def counted(self, function, *arguments):
        calls.append(function.__name__)
        return learn(self, function, *arguments)

    def dying(text):
        if "refused" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(updating._Update, "_call", counted)
    with pytest.raises(KeyboardInterrupt):
        update(run, data, tell=dying)
    verdict = update(run, data)
    assert not verdict.accepted and "the adapted model, new data: quality has risen" in verdict.reason
    assert len(verdict.guards) == 1, "old data was not opened for it"
    assert verdict.number == 1
    assert calls == ["learn"], "it had learned already"


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (lambda: update_job.rows(30, 1), "there are 30 rows, and an update takes at least 50"),
        (lambda: update_job.rows(100, 1) | {"input": np.full((100, 12), np.nan)}, "NaN"),
        (lambda: update_job.rows(100, 1) | {"label": np.arange(100)}, "row 4 is 3, none of the 3 classes"),
    ],
)
def test_new_data_that_cannot_be_learned_is_refused_by_name(run, tmp_path, rows, says):
    path = update_job.jsonl(tmp_path / "new.jsonl", rows())
    with pytest.raises(DataError, match=says) as caught:
        update(run, path)
    assert str(caught.value).startswith(str(path)) or "new.jsonl" in str(caught.value)
    assert not list((run / "updates").glob("*")) if (run / "updates").exists() else True


def test_another_kind_of_file_another_job_and_no_run_are_refused(run, tmp_path):
    with pytest.raises(DataError, match=r"new data is one of .jsonl, .csv, .parquet"):
        update(run, tmp_path / "new.txt")
    other = tmp_path / "job.toml"
    shutil.copy(update_job.__file__, tmp_path / "update_job.py")
    other.write_text(update_job.JOB.replace("max_drop = 0.05", "max_drop = 0.5"))
    with pytest.raises(JobError, match="is not the job of this run"):
        update(run, new_rows(tmp_path), job=other)
    with pytest.raises(BuildError, match="how = 'some' is none of"):
        update(run, new_rows(tmp_path), adaptation=Adaptation(how="some"))
    with pytest.raises(StoreError, match="is no run"):
        update(tmp_path / "none", new_rows(tmp_path))
    shutil.rmtree(run / "artifact")
    with pytest.raises(ArtifactError, match="has packed no artifact"):
        update(run, new_rows(tmp_path))


def test_two_updates_at_once_are_refused(run, tmp_path):
    with updating.alone(run / "updates"), pytest.raises(StoreError, match="in use by another update"):
        update(run, new_rows(tmp_path))
