"""Every method keeps the laws of `Method`, on every form it consumes, on an encoder and on a convolutional net."""

import dataclasses
from pathlib import Path

import pytest

from farthing import plugins
from farthing.methods.base import Method
from farthing.testing import methods as laws
from farthing.testing.profiles import encoder_profile

from .originals import context_for, in_form

MEMBERS = {name: plugins.load(Method, name) for name in plugins.names(Method)}
CASES = [
    (name, form, make)
    for name, cls in MEMBERS.items()
    if cls.family == "precision"  # what changes the structure, or repairs it, treats some models only: each has its own test
    for form in sorted(cls.consumes)
    for make in ("encoder", "conv_net")
]
KEEPING = [name for name, cls in MEMBERS.items() if "keep_float" in {field.name for field in dataclasses.fields(cls)}]
PEAKS = {"float32": 3e11, "bfloat16": 2e12, "int8": 4e12}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.mark.parametrize(("name", "form", "make"), CASES)
def test_apply(name: str, form: str, make: str, shared: Path, tmp_path: Path) -> None:
    source = in_form(make, form, shared)
    laws.check_apply(MEMBERS[name](), source, tmp_path, context_for(source))


@pytest.mark.parametrize("name", [name for name, cls in MEMBERS.items() if cls.family == "precision"])
def test_proposals(name: str) -> None:
    laws.check_proposals(MEMBERS[name], encoder_profile(), peaks=PEAKS)


@pytest.mark.parametrize("name", KEEPING)
def test_a_layer_that_cannot_be_kept_is_named(name: str, shared: Path, tmp_path: Path) -> None:
    (form,) = MEMBERS[name].consumes
    source = in_form("encoder", form, shared)
    laws.check_unknown_layer_is_named(MEMBERS[name](keep_float=1), source, tmp_path, context_for(source))
