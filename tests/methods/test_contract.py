"""Every method keeps the laws of `Method`, on every form it consumes, on an encoder and on a convolutional net."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from farthing import plugins
from farthing.errors import BuildError
from farthing.methods.base import Method
from farthing.testing import methods as laws
from farthing.testing import zoo
from farthing.testing.profiles import encoder_profile
from farthing.types import Context, Pipeline

from .originals import in_form, learning_context

Zoo = Callable[[str], tuple[Pipeline, Context]]
LOADED = {name: plugins.load(Method, name) for name in plugins.names(Method)}
MEMBERS = {
    name: cls
    for name, cls in LOADED.items()
    if all(field.default is not dataclasses.MISSING for field in dataclasses.fields(cls))
}  # what is made of other builds has no defaults, and tests of its own
CASES = [
    (name, form, make)
    for name, cls in MEMBERS.items()
    if cls.family == "precision"  # what changes the structure, or repairs it, treats some models only: each has its own test
    for form in sorted(cls.consumes)
    for make in ("encoder", "conv_net")
]
TREATED = [
    (name, model)
    for name, cls in MEMBERS.items()
    for form, models in (("torch", zoo.NETWORKS), ("sklearn", zoo.ESTIMATORS))
    if form in cls.consumes
    for model in models
]
KEEPING = [name for name, cls in MEMBERS.items() if "keep_float" in {field.name for field in dataclasses.fields(cls)}]
LEARNING = [name for name, cls in MEMBERS.items() if "learning_rate" in {field.name for field in dataclasses.fields(cls)}]
PEAKS = {"float32": 3e11, "bfloat16": 2e12, "int8": 4e12}


@pytest.fixture(scope="module")
def zoo_of(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    """Each model of the zoo with its context, made once."""
    folder = tmp_path_factory.mktemp("zoo")

    @functools.cache
    def made(name: str) -> tuple[Pipeline, Context]:
        source = zoo.source(name, folder / name)
        return source, zoo.context(source)

    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.mark.parametrize(("name", "form", "make"), CASES)
def test_apply(name: str, form: str, make: str, shared: Path, tmp_path: Path) -> None:
    source = in_form(make, form, shared)
    laws.check_apply(MEMBERS[name](), source, tmp_path, learning_context(source))


@pytest.mark.parametrize(("name", "model"), TREATED)
def test_every_family_of_models_is_treated_or_refused_by_name(name: str, model: str, zoo_of: Zoo, tmp_path: Path) -> None:
    source, context = zoo_of(model)
    method = MEMBERS[name]()
    laws.check_treats_or_refuses(method, laws.ready_for(method, source, tmp_path / "ready"), tmp_path, context)


@pytest.mark.parametrize("name", [name for name, cls in MEMBERS.items() if cls.family == "precision"])
def test_proposals(name: str) -> None:
    laws.check_proposals(MEMBERS[name], encoder_profile(), peaks=PEAKS)


@pytest.mark.parametrize("name", KEEPING)
def test_a_layer_that_cannot_be_kept_is_named(name: str, shared: Path, tmp_path: Path) -> None:
    (form,) = MEMBERS[name].consumes
    source = in_form("encoder", form, shared)
    laws.check_unknown_layer_is_named(MEMBERS[name](keep_float=1), source, tmp_path, learning_context(source))


@pytest.mark.parametrize("name", LEARNING)
def test_training_that_diverges_at_once_says_what_to_lower(name: str, zoo_of: Zoo, tmp_path: Path) -> None:
    """Later on the last good weights are kept: tests/training/test_loop.py."""
    source, context = zoo_of("mlp")
    method = MEMBERS[name](learning_rate=1e30)
    with pytest.raises(BuildError, match=rf"^{name}: training diverged: .* Lower learning_rate"):
        method.apply(laws.ready_for(method, source, tmp_path / "ready"), tmp_path / "result", context)
