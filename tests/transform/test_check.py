"""Plans of recipes over forms and traits, and the reasons of those that have none."""

import pytest

from farthing import plugins, transform
from farthing.conversions.base import Conversion
from farthing.errors import JobError, RecipeError
from farthing.types import Build, MemberRef

FLOAT = frozenset({"float_weights"})


def build(*names: str, runtime: str) -> Build:
    return Build(recipe=tuple(MemberRef(name=name) for name in names), runtime=MemberRef(name=runtime))


def steps(form: str, wanted: Build, traits: frozenset[str] = FLOAT) -> list[str]:
    return [step.ref.name for step in transform.check(form, traits, wanted)]


@pytest.mark.parametrize(
    ("form", "wanted", "expected"),
    [
        ("torch", build(runtime="torch_eager"), []),
        ("torch", build(runtime="openvino"), ["torch_to_openvino"]),
        ("torch", build("ort_dynamic_int8", runtime="onnxruntime"), ["torch_to_onnx", "ort_dynamic_int8"]),
        ("onnx", build("nncf_int8", runtime="openvino"), ["onnx_to_openvino", "nncf_int8"]),
        ("torch", build("bf16", runtime="torch_compile"), ["bf16"]),
        ("torch", build("bf16", runtime="aot_inductor"), ["bf16", "torch_to_aoti"]),
        ("torch", build("bf16", runtime="openvino"), ["torch_to_openvino", "bf16"]),  # not bf16 before: converted untouched
        ("torch", build("nncf_int8", "bf16", runtime="openvino"), ["torch_to_openvino", "nncf_int8", "bf16"]),
        ("sklearn", build(runtime="openvino"), ["sklearn_to_onnx", "onnx_to_openvino"]),
    ],
)
def test_plan(form: str, wanted: Build, expected: list[str]) -> None:
    assert steps(form, wanted) == expected


def test_forms_and_traits_are_folded() -> None:
    first, second, third = transform.check("torch", FLOAT, build("nncf_int8", "bf16", runtime="openvino"))
    assert (first.kind, first.form, first.traits) == ("conversion", "openvino", FLOAT)
    assert (second.kind, second.form, second.traits) == ("method", "openvino", {"int8"})
    assert (third.kind, third.form, third.traits) == ("method", "openvino", {"int8", "bf16"})


@pytest.mark.parametrize(
    ("form", "wanted", "reason"),
    [
        (
            "torch",
            build("bf16", "nncf_int8", runtime="openvino"),
            "step 2 (nncf_int8) needs float_weights, which step 1 removed. Move it earlier or drop that step.",
        ),
        (
            "torch",
            build("bf16", "bf16", runtime="openvino"),
            "step 2 (bf16) adds bf16, which is there already. Drop that step.",
        ),
        (
            "openvino",
            build("ort_dynamic_int8", runtime="onnxruntime"),
            "step 1 (ort_dynamic_int8) consumes onnx; no conversion leads there from openvino with float_weights. "
            "Change the order of the steps, drop one, or choose another runtime.",
        ),
        (
            "torch",
            build("bf16_weights", runtime="openvino"),
            "the runtime openvino accepts openvino; no conversion leads there from torch with bf16. "
            "Change the order of the steps, drop one, or choose another runtime.",
        ),
        (
            "torch",
            build("ort_dynamic_int8", runtime="openvino"),
            "the runtime openvino accepts openvino; no conversion leads there from onnx with int8. "
            "Change the order of the steps, drop one, or choose another runtime.",
        ),
    ],
)
def test_reason(form: str, wanted: Build, reason: str) -> None:
    with pytest.raises(RecipeError) as caught:
        steps(form, wanted)
    assert str(caught.value) == reason


def test_an_untouched_model_is_converted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the conversion would carry what the method adds: then all builds share its result."""
    monkeypatch.setattr(plugins.load(Conversion, "torch_to_openvino"), "carries", FLOAT | {"bf16"})
    assert steps("torch", build("bf16", runtime="openvino")) == ["torch_to_openvino", "bf16"]


def test_trait_the_model_never_had() -> None:
    with pytest.raises(RecipeError, match=r"needs float_weights, which this model does not have. Drop that step."):
        steps("torch", build("bf16_weights", runtime="torch_eager"), traits=frozenset())


def test_unknown_method() -> None:
    with pytest.raises(JobError, match="Did you mean 'nncf_int8'"):
        steps("torch", build("nncf_int", runtime="openvino"))
