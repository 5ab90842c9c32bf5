"""Every runtime keeps the laws of `Runtime`, on samples in a form that it accepts."""

import pytest
import torch

from farthing import plugins
from farthing.errors import BuildError
from farthing.runtimes.base import Runtime
from farthing.testing import runtimes as laws
from farthing.testing.model_sources import feeds_for

from .conftest import Made

MEMBERS = plugins.names(Runtime)
SAMPLES = {
    "torch": ("mlp", "cnn", "encoder"),
    "onnx": ("cnn", "encoder", "forest"),
    "openvino": ("cnn", "encoder"),
    "aoti": ("mlp",),  # a compilation for each
    "cascade": ("cnn", "encoder"),
    "sklearn": ("forest", "logistic", "hist", "ridge"),
}
COMPILES = ("torch_compile",)  # at every opening, for half a minute: one sample stands for all
CASES = [
    (name, form, sample)
    for name in MEMBERS
    for form in sorted(plugins.load(Runtime, name).accepts)
    for sample in (("mlp",) if name in COMPILES else SAMPLES[form])
]


@pytest.mark.parametrize(("name", "form", "sample"), CASES)
def test_laws(name: str, form: str, sample: str, made: Made) -> None:
    runtime, pipeline = plugins.load(Runtime, name)(), made(sample, form)
    feeds = feeds_for(pipeline)
    if "cpu" not in runtime.devices and not torch.cuda.is_available():
        pytest.skip(f"{name} runs on {', '.join(runtime.devices)} alone, and this machine has none")
    session = runtime.open(pipeline, threads=1, streams=2, device_kind="cpu" if "cpu" in runtime.devices else "cuda")
    laws.check_outputs(session, pipeline, feeds)
    laws.check_rows_are_independent(session, pipeline, feeds)
    laws.check_streams(session, pipeline, feeds, streams=2)
    laws.check_snippet(runtime, session, pipeline, feeds)
    session.close()


@pytest.mark.parametrize("name", MEMBERS)
def test_a_device_that_is_not_there_is_refused(name: str, made: Made) -> None:
    runtime = plugins.load(Runtime, name)()
    (form,) = runtime.accepts
    pipeline = made("ridge" if form == "sklearn" else "mlp", form)
    with pytest.raises(BuildError, match="abacus"):
        runtime.open(pipeline, threads=1, streams=1, device_kind="abacus")


@pytest.mark.parametrize("name", MEMBERS)
def test_what_was_run_is_told(name: str) -> None:
    runtime = plugins.load(Runtime, name)
    assert runtime.run_on and runtime.run_on <= runtime.devices
