"""The laws of `Method`, as checks that any member can be put through."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from farthing import codec, plugins
from farthing import pipeline as pipelines
from farthing.errors import BuildError, DataError
from farthing.methods.base import Method
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Context, Pipeline

NUM_TRAIN = 10_000  # items of the train split, where one is made up
LEAST_SHRINKAGE = 0.7  # int8 weights take a quarter of float32's bytes; small models have more besides weights


def check_apply(method: Method, source: Pipeline, directory: Path, context: Context) -> Pipeline:
    """The source is not touched; form, traits and specs are as promised; twice the same outputs; what is claimed is real."""
    before = codec.digest_tree(source.directory)
    result = method.apply(source, directory / "first", context)
    again = method.apply(source, directory / "second", context)
    assert codec.digest_tree(source.directory) == before, f"{method} changed its source"
    assert result.form == (method.produces or source.form)
    assert result.traits == source.traits - method.drops | method.adds, f"{method} gives {sorted(result.traits)}"
    assert (result.inputs, result.outputs, result.tokenizer) == (source.inputs, source.outputs, source.tokenizer)
    assert pipelines.read(result.directory) == result
    original, changed, repeated = (answers(p, context) for p in (source, result, again))
    for position, (expected, got, twice) in enumerate(zip(original, changed, repeated, strict=True)):
        assert np.array_equal(got, twice), f"{method}: output {position} differs from one time to the next"
        assert got.shape == expected.shape and np.isfinite(got).all(), f"{method}: output {position}, {got.shape}"
        if method.changes_answers:
            assert not np.array_equal(got, expected), f"{method} changed nothing in output {position}"
    if "int8" in method.adds:
        check_is_int8(result, source)
    return result


def ready_for(method: Method, source: Pipeline, directory: Path) -> Pipeline:
    """`source` with the traits that the method needs, as what comes before it in a recipe would leave it."""
    shutil.copytree(source.directory, directory)
    return pipelines.write(replace(source, directory=directory, traits=source.traits | method.needs))


def check_treats_or_refuses(method: Method, source: Pipeline, directory: Path, context: Context) -> Pipeline | None:
    """On a model of any family: the laws of `check_apply`, or a BuildError that names the method and says why (None)."""
    name = type(method).__module__.rpartition(".")[2]
    try:
        return check_apply(method, source, directory, context)
    except BuildError as error:
        assert str(error).startswith(name), f"a refusal begins with the name of the method, {name}: {error}"
        assert len(str(error)) > len(name) + 20, f"a refusal says which layer and why: {error}"
    return None


def check_is_int8(result: Pipeline, source: Pipeline) -> None:
    """Fewer bytes, and int8 (or uint8) weights in the file; how they are told is known for `onnx` and `openvino`."""
    weights = {"onnx": _onnx_weight_types, "openvino": _openvino_weight_types}[result.form](result)
    assert weights & {"int8", "uint8"}, f"{result.file} holds no int8 weight: {sorted(weights)}"
    was, now = (sum(f.stat().st_size for f in p.directory.rglob("*")) for p in (source, result))
    assert now < LEAST_SHRINKAGE * was, f"{now} bytes after int8, {was} before"


def check_needs_rows(method: Method, source: Pipeline, directory: Path, context: Context) -> None:
    """A method that calibrates refuses an empty and a tiny calibrate split, saying how many rows it has."""
    for few in ((), context.calibration[:1]):
        num_rows = sum(len(next(iter(feeds.values()))) for feeds in few)
        try:
            method.apply(source, directory / f"rows{num_rows}", replace(context, calibration=few))
        except BuildError as error:
            assert f"has {num_rows}" in str(error), error
        else:
            raise AssertionError(f"{method} took its ranges from {num_rows} rows")


def check_refuses_nan(method: Method, source: Pipeline, directory: Path, context: Context) -> None:
    """A method that calibrates names the batch and the input that holds NaN. The first input of `source` is float."""
    number, name = len(context.calibration) - 1, source.inputs[0].name
    last = context.calibration[number]
    spoiled = {**last, name: np.full_like(last[name], np.nan)}
    try:
        method.apply(source, directory, replace(context, calibration=(*context.calibration[:number], spoiled)))
    except DataError as error:
        assert f"{name!r} of calibration batch {number}" in str(error), error
    else:
        raise AssertionError(f"{method} took its ranges from NaN")


def check_unknown_layer_is_named(method: Method, source: Pipeline, directory: Path, context: Context) -> None:
    """`method` is to keep in float a layer that the model does not have."""
    try:
        method.apply(source, directory, replace(context, sensitivities=(("no.such.layer", 1.0),)))
    except BuildError as error:
        assert "no.such.layer" in str(error), error
    else:
        raise AssertionError(f"{method} kept a layer in float that is not there")


def check_proposals(cls: type[Method], profile: Profile, *, peaks: Mapping[str, float]) -> None:
    """On a device where only float32 is fast there is a reason; with these `peaks`, settings that predict a gain.

    One that only saves bytes has a reason on both, and settings where they are limited and there is a train split, which need
    predict no gain. One that is nothing by itself may have a reason there too.
    """
    slow = replace(profile, device=replace(profile.device, flops_per_s={"float32": peaks["float32"]}))
    reason = cls.propose(slow)
    assert isinstance(reason, str) and reason, f"{cls.__name__} proposes {reason} where no precision is faster"
    fast = replace(profile, device=replace(profile.device, flops_per_s=dict(peaks)))
    settings = cls.propose(fast)
    least_speedup = 1.0
    if isinstance(settings, str):
        settings, least_speedup = cls.propose(replace(fast, bytes_are_limited=True, num_train=NUM_TRAIN)), 0.99
        if isinstance(settings, str) and not cls.stands_alone:
            return
    assert not isinstance(settings, str) and len(set(settings)) == len(settings) > 0, settings
    for method in settings:
        assert plugins.make(Method, plugins.ref(method)) == method  # type: ignore[type-abstract]
        assert least_speedup < method.predicted_speedup(profile) < 100.0


def answers(pipeline: Pipeline, context: Context) -> list[Array]:
    """Outputs for all calibration batches, each flattened to (items, values) and joined, from the form's plainest runtime."""
    session = _open(pipeline, context)
    batches: Sequence[list[Array]] = [session.run(feeds) for feeds in context.calibration]
    session.close()
    return [np.concatenate([value.reshape(len(value), -1) for value in values]) for values in zip(*batches, strict=True)]


def _open(pipeline: Pipeline, context: Context) -> Session:
    if pipeline.form == "torch":
        from farthing.forms import torch_form

        return torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=context.threads)
    kinds = (plugins.load(Runtime, name) for name in plugins.names(Runtime))  # type: ignore[type-abstract]
    accepting: list[Any] = [kind for kind in kinds if pipeline.form in kind.accepts]
    assert accepting, f"no runtime accepts {pipeline.form}"
    session: Session = accepting[0]().open(pipeline, threads=context.threads, streams=1)
    return session


def _onnx_weight_types(pipeline: Pipeline) -> set[str]:
    import onnx

    weights = [tensor for tensor in onnx.load(pipeline.path).graph.initializer if len(tensor.dims) > 1]
    return {onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name for tensor in weights}


def _openvino_weight_types(pipeline: Pipeline) -> set[str]:
    import openvino

    constants = [op for op in openvino.Core().read_model(pipeline.path).get_ops() if op.get_type_name() == "Constant"]
    return {op.get_element_type().to_dtype().name for op in constants if len(op.shape) > 1}
