"""Conversion: a scikit-learn estimator to ONNX operators for classical models, by skl2onnx."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from farthing.conversions.base import Conversion
from farthing.errors import BuildError, MissingExtra
from farthing.forms import onnx_form, sklearn_form
from farthing.pipeline import derive
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class SklearnToOnnx(Conversion):
    """The graph computes in float32, scikit-learn in float64: a value on a tree's threshold may fall on its other side."""

    source: ClassVar[str] = "sklearn"
    target: ClassVar[str] = "onnx"

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        estimator = sklearn_form.load(source)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / onnx_form.FILE).write_bytes(_graph(estimator, source).SerializeToString())
        result = derive(source, directory, form=self.target, file=onnx_form.FILE, pickled=False)
        after = onnx_form.OnnxSession(result.path, threads=context.threads)
        self.check(lambda feeds: sklearn_form.ask(estimator, feeds), after.run, source, context)
        return result


def _graph(estimator: Any, source: Pipeline) -> Any:
    try:
        import onnx
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import FloatTensorType
        from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    except ImportError as error:
        raise MissingExtra("skl2onnx", "sklearn") from error
    kind = type(estimator).__name__
    (features,) = source.inputs
    if features.dtype != "float32":
        raise BuildError(f"{kind} reads texts, which skl2onnx tokenizes in its own way: keep the runtime sklearn")
    types = [(features.name, FloatTensorType([None, *features.shape[1:]]))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside skl2onnx; outputs are checked
            model = _converted(lambda options: to_onnx(estimator, initial_types=types, options=options), estimator)
    except (RuntimeError, ValueError, TypeError, NameError, MissingConverter, MissingShapeCalculator) as error:
        raise BuildError(
            f"skl2onnx cannot convert {kind}: {str(error).partition(' and attributes')[0]}. Keep the runtime sklearn."
        ) from error
    _keep(model.graph, source, kind)
    for spec, output in zip(source.outputs, model.graph.output, strict=True):
        if spec.shape == ("batch",):
            _flatten(onnx, model.graph, output)
    return model


def _keep(graph: Any, source: Pipeline, kind: str) -> None:
    """Only the outputs of `source`: of labels, the runtime prunes what only they need."""
    outputs = [spec.name for spec in source.outputs]
    if "scores" in outputs:
        _rename(graph, "probabilities", "scores")  # skl2onnx calls what a classifier answers probabilities in any case
    for output in [output for output in graph.output if output.name not in outputs]:
        graph.output.remove(output)
    if len(graph.output) != len(outputs):
        raise BuildError(f"skl2onnx gives {kind} none of the outputs {', '.join(outputs)}. Keep the runtime sklearn.")


def _converted(convert: Callable[[Any], Any], estimator: Any) -> Any:
    """Scores as scikit-learn gives them where there are no probabilities; not every such classifier has both options."""
    if hasattr(estimator, "predict_proba"):
        return convert({id(estimator): {"zipmap": False}})
    if not hasattr(estimator, "decision_function"):
        return convert(None)
    try:
        return convert({id(estimator): {"raw_scores": True, "zipmap": False}})
    except NameError:
        return convert({id(estimator): {"raw_scores": True}})


def _rename(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
    for output in graph.output:
        output.name = new if output.name == old else output.name


def _flatten(onnx: Any, graph: Any, output: Any) -> None:
    """(batch, 1) -> (batch,): regressors of skl2onnx answer in a column."""
    column = f"{output.name}_column"
    for node in graph.node:
        node.output[:] = [column if name == output.name else name for name in node.output]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), f"{column}_shape"))
    graph.node.append(onnx.helper.make_node("Reshape", [column, f"{column}_shape"], [output.name]))
    del output.type.tensor_type.shape.dim[1:]
