"""Every conversion keeps the laws of `Conversion`, on each sample that comes in its source's form."""

from pathlib import Path

import pytest

from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.testing.conversions import check_conversion

from .conftest import Made

MEMBERS = plugins.names(Conversion)
SAMPLES = {"torch": ("mlp", "cnn", "encoder"), "sklearn": ("forest", "logistic", "ridge"), "onnx": ("mlp", "encoder")}
COMPILED = {"aoti": ("encoder",)}  # each compilation takes half a minute: the sample with everything dynamic stands for all
CASES = [
    (name, sample)
    for name in MEMBERS
    for sample in COMPILED.get(plugins.load(Conversion, name).target, SAMPLES[plugins.load(Conversion, name).source])
]


@pytest.mark.parametrize(("name", "sample"), CASES)
def test_laws(name: str, sample: str, made: Made, tmp_path: Path) -> None:
    conversion = plugins.load(Conversion, name)()
    check_conversion(conversion, made(sample, conversion.source), tmp_path / "result")


@pytest.mark.parametrize("name", MEMBERS)
def test_named_by_its_edge(name: str) -> None:
    conversion = plugins.load(Conversion, name)
    assert name == f"{conversion.source}_to_{conversion.target}"
