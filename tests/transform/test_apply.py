"""Recipes carried out: what is written, what builds share, what a kill leaves, and which outputs are refused."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from farthing import codec, plugins, transform
from farthing import pipeline as pipelines
from farthing.conversions.base import Conversion
from farthing.errors import RecipeError, WrongOutput
from farthing.methods.base import Method
from farthing.types import Build, Context, MemberRef, Pipeline

from .originals import NotANumber, OneAnswerABatch, context, original

OPENVINO = Build(recipe=(), runtime=MemberRef(name="openvino"))
INT8 = Build(recipe=(MemberRef(name="nncf_int8"),), runtime=MemberRef(name="openvino"))
EAGER = Build(recipe=(), runtime=MemberRef(name="torch_eager"))


def conversions_run(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Targets of the conversions that have really been run."""
    run: list[str] = []
    kind = plugins.load(Conversion, "torch_to_openvino")
    convert = kind.convert

    def counted(self: Conversion, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        run.append(kind.target)
        return convert(self, source, directory, context)

    monkeypatch.setattr(kind, "convert", counted)
    return run


def test_what_is_written_is_what_is_returned(tmp_path: Path) -> None:
    source = original(tmp_path / "original")
    before = codec.digest_tree(source.directory)
    for build, form, traits in (
        (EAGER, "torch", {"float_weights"}),
        (OPENVINO, "openvino", {"float_weights"}),
        (INT8, "openvino", {"int8"}),
    ):
        place = tmp_path / form / "_".join(traits)
        result = transform.apply(source, build, place, context())
        assert (result.directory, result.form, result.traits) == (place, form, traits)
        assert pipelines.read(place) == result and result.path.exists()
        assert not [path for path in place.rglob("*") if path.is_dir()], "something intermediate was left"
    assert codec.digest_tree(source.directory) == before


def test_builds_that_begin_alike_share_the_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = original(tmp_path / "original"), conversions_run(monkeypatch)
    transform.apply(source, OPENVINO, tmp_path / "float", context(), cache=tmp_path / "cache")
    transform.apply(source, INT8, tmp_path / "int8", context(), cache=tmp_path / "cache")
    assert run == ["openvino"]


@pytest.mark.parametrize("change", ["calibration", "original"])
def test_another_question_shares_nothing(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, run = original(tmp_path / "original"), conversions_run(monkeypatch)
    transform.apply(source, OPENVINO, tmp_path / "first", context(), cache=tmp_path / "cache")
    if change == "original":
        (source.directory / "tokenizer.json").write_text("{}")
    other = context(largest=1.5) if change == "calibration" else context()
    transform.apply(source, OPENVINO, tmp_path / "second", other, cache=tmp_path / "cache")
    assert run == ["openvino", "openvino"]


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    source = original(tmp_path / "original")
    child = multiprocessing.get_context("fork").Process(target=_killed_while_converting, args=(source, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (left,) = (tmp_path / "cache").iterdir()
    assert left.suffix == ".part" and (left / "half").exists()
    result = transform.apply(source, OPENVINO, tmp_path / "again", context(), cache=tmp_path / "cache")
    assert not left.exists() and not (result.directory / "half").exists()


def _killed_while_converting(source: Pipeline, place: Path) -> None:
    def convert(self: Conversion, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        directory.mkdir()
        (directory / "half").write_text("a model")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    plugins.load(Conversion, "torch_to_openvino").convert = convert  # type: ignore[method-assign]
    transform.apply(source, OPENVINO, place / "killed", context(), cache=place / "cache")


def test_a_recipe_without_a_plan_writes_nothing(tmp_path: Path) -> None:
    source = original(tmp_path / "original")
    bad = Build(recipe=(MemberRef(name="bf16"), *INT8.recipe), runtime=INT8.runtime)
    with pytest.raises(RecipeError):
        transform.apply(source, bad, tmp_path / "bad", context(), cache=tmp_path / "cache")
    assert not (tmp_path / "bad").exists() and not (tmp_path / "cache").exists()


def test_nan_is_refused(tmp_path: Path) -> None:
    source = original(tmp_path / "original", NotANumber)
    transform.apply(source, EAGER, tmp_path / "finite", context())
    with pytest.raises(WrongOutput, match=r"output 'y' holds NaN or infinity, first in row 0 of a batch of 1"):
        transform.apply(source, EAGER, tmp_path / "nan", context(largest=3.0))


def test_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    source = original(tmp_path / "original", OneAnswerABatch)
    with pytest.raises(WrongOutput, match=r"output 'y' has shape \(1, 5\), the original gives \(3, 5\)"):
        transform.apply(source, EAGER, tmp_path / "result", context())


def test_a_method_that_breaks_its_promise_is_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, kind = original(tmp_path / "original"), plugins.load(Method, "bf16_weights")

    def forgetful(self: Method, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        return pipelines.derive(source, directory, form=source.form, file=source.file)

    monkeypatch.setattr(kind, "apply", forgetful)
    build = Build(recipe=(MemberRef(name="bf16_weights"),), runtime=EAGER.runtime)
    with pytest.raises(AssertionError, match="broke its promise"):
        transform.apply(source, build, tmp_path / "result", context())
