"""Samples in a form, converted once for all tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from farthing import pipeline as pipelines
from farthing.forms import cascade_form
from farthing.testing import samples
from farthing.types import MemberRef, Pipeline

Made = Callable[[str, str], Pipeline]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    cache: dict[tuple[str, str], Pipeline] = {}

    def make(name: str, form: str) -> Pipeline:
        if (name, form) not in cache:
            folder = tmp_path_factory.mktemp(f"{name}_{form}")
            cache[name, form] = _cascade(name, folder) if form == "cascade" else samples.in_form(name, form, folder)
        return cache[name, form]

    return make


def _cascade(name: str, folder: Path) -> Pipeline:
    """The sample on ONNX Runtime, asked again on OpenVINO where its margin is small: for some rows, not for all."""
    for part, form in ((cascade_form.CHEAP, "onnx"), (cascade_form.DEAR, "openvino")):
        made = samples.in_form(name, form, folder / f"{part}_made")
        made.directory.rename(folder / part)
    cheap = pipelines.read(folder / cascade_form.CHEAP)
    settings = cascade_form.Settings(
        threshold=0.1, cheap=MemberRef(name="onnxruntime"), dear=MemberRef(name="openvino"), asked=0.5
    )
    cascade_form.write(settings, folder)
    return pipelines.derive(cheap, folder, form="cascade", file=cascade_form.FILE)
