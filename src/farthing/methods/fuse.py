"""Method: layers without a nonlinearity between them are multiplied out into one; the answers stay the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration
from farthing.results import Profile
from farthing.types import Context, Pipeline

TOLERANCE = 1e-3  # of the largest answer: sums in another order
BATCH_NORM = "batch_norm"  # in the name of its operators


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuse(Method):
    """A BatchNorm goes into the layer before it: W' = W g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + h, with mean m,
    variance v, scale g and shift h of each channel. Two linear layers become one, W' = W2 W1 and b' = W2 b1 + b2, where that
    has fewer products.

    ONNX Runtime, OpenVINO and Inductor with frozen weights fold a BatchNorm themselves; this pays in eager PyTorch, and where
    a quantizer should see the weights that really multiply (Jacob et al., arXiv 1712.05877, section 3.2).
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"fused"})
    family: ClassVar[Family] = "structure"
    changes_answers: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        import torch

        from farthing.forms import fusing, torch_form

        module = torch_form.load(source)
        batches = [torch_form.tensors(feeds, source.inputs) for feeds in calibration(context, "fuse")]
        with torch.no_grad():
            expected = torch.cat([torch_form.first(module(*batch)).flatten(1) for batch in batches])
            try:
                num_gone = fusing.fuse(module, batches[0])
            except BuildError as error:
                raise BuildError(f"fuse: {error}") from error
            if not num_gone:
                raise BuildError(
                    f"fuse: {type(module).__name__} has no BatchNorm behind a convolution or linear layer, nor two linear "
                    "layers in a row that would have fewer products as one"
                )
            got = torch.cat([torch_form.first(module(*batch)).flatten(1) for batch in batches])
        apart = float((got - expected).abs().max())
        if not apart <= TOLERANCE * float(expected.abs().max()):
            raise BuildError(f"fuse: {type(module).__name__} answers something else with its layers fused, by {apart:.2g}")
        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        if cls().predicted_speedup(profile) < 1.05:
            return "BatchNorm takes too little of the time"
        return (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        total_s = sum(op.seconds for op in profile.ops) or 1.0
        share = sum(op.seconds for op in profile.ops if BATCH_NORM in op.name) / total_s
        return 1.0 / (1.0 - share * profile.model_s / (profile.model_s + profile.host_s))
