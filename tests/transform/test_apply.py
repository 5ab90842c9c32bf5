"""Recipes carried out: what is written, what builds share, and what a kill leaves."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from farthing import codec, transform
from farthing import pipeline as pipelines
from farthing.errors import RecipeError, WrongOutput
from farthing.types import Build, Context, MemberRef, Pipeline

from .conftest import FLOAT, Edge, Half, RawToGraph

SAME = Build(recipe=(), runtime=MemberRef(name="interpreter"))
GRAPH = Build(recipe=(), runtime=MemberRef(name="engine"))
SHRUNK = Build(recipe=(MemberRef(name="shrink"),), runtime=MemberRef(name="engine"))
BOTH = Build(recipe=(MemberRef(name="shrink"), MemberRef(name="half")), runtime=MemberRef(name="engine"))


@pytest.mark.parametrize(
    ("build", "form", "traits", "scale"),
    [
        (SAME, "raw", FLOAT, 1.0),
        (GRAPH, "graph", FLOAT, 1.0),
        (SHRUNK, "graph", {"int8"}, 0.5),
        (BOTH, "graph", {"int8", "half"}, 0.25),
    ],
)
def test_what_is_written_is_what_is_returned(
    build: Build, form: str, traits: set[str], scale: float, original: Pipeline, context: Context, tmp_path: Path
) -> None:
    before = codec.digest_tree(original.directory)
    result = transform.apply(original, build, tmp_path / "result", context)
    assert (result.directory, result.form, result.traits) == (tmp_path / "result", form, traits)
    assert pipelines.read(tmp_path / "result") == result
    assert np.load(result.path)[0, 0] == scale
    assert sorted(codec.digest_files(result.directory)) == ["model.npy", "pipeline.json"]
    assert codec.digest_tree(original.directory) == before


def test_builds_that_begin_alike_share_the_conversion(original: Pipeline, context: Context, tmp_path: Path) -> None:
    for number, build in enumerate((GRAPH, SHRUNK, BOTH)):
        transform.apply(original, build, tmp_path / str(number), context, cache=tmp_path / "cache")
    assert Edge.runs == ["raw_to_graph"]


def test_another_original_or_calibration_shares_nothing(original: Pipeline, context: Context, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    transform.apply(original, GRAPH, tmp_path / "first", context, cache=cache)
    transform.apply(original, GRAPH, tmp_path / "second", Context(calibration=context.calibration[:1]), cache=cache)
    np.save(original.path, np.load(original.path) * 3.0)
    assert np.load(transform.apply(original, GRAPH, tmp_path / "third", context, cache=cache).path)[0, 0] == 3.0
    assert Edge.runs == ["raw_to_graph"] * 3


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(
    original: Pipeline, context: Context, tmp_path: Path
) -> None:
    child = multiprocessing.get_context("fork").Process(target=_killed_while_converting, args=(original, context, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (left,) = (tmp_path / "cache").iterdir()
    assert left.suffix == ".part" and (left / "half").exists()
    result = transform.apply(original, GRAPH, tmp_path / "again", context, cache=tmp_path / "cache")
    assert not left.exists() and not (result.directory / "half").exists()


def _killed_while_converting(original: Pipeline, context: Context, place: Path) -> None:
    def convert(self: RawToGraph, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        directory.mkdir()
        (directory / "half").write_text("a model")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    RawToGraph.convert = convert  # type: ignore[method-assign]
    transform.apply(original, GRAPH, place / "killed", context, cache=place / "cache")


def test_a_recipe_without_a_plan_writes_nothing(original: Pipeline, context: Context, tmp_path: Path) -> None:
    backwards = Build(recipe=BOTH.recipe[::-1], runtime=BOTH.runtime)
    with pytest.raises(RecipeError):
        transform.apply(original, backwards, tmp_path / "bad", context, cache=tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["original"]


def test_outputs_are_looked_at(original: Pipeline, context: Context, tmp_path: Path) -> None:
    np.save(original.path, np.full((3, 3), np.inf, np.float32))
    with pytest.raises(WrongOutput, match="output 'y' holds NaN or infinity"):
        transform.apply(original, GRAPH, tmp_path / "result", context)


def test_a_method_that_breaks_its_promise_is_a_bug(
    original: Pipeline, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Half, "apply", lambda self, source, directory, context: source)
    build = Build(recipe=(MemberRef(name="half"),), runtime=SAME.runtime)
    with pytest.raises(AssertionError, match="broke its promise"):
        transform.apply(original, build, tmp_path / "result", context)
