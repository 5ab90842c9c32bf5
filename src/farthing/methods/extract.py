"""Method: the answer is read off an early block by a small head; the blocks after it are gone."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, calibration, too_little_to_learn
from farthing.results import Profile
from farthing.types import Array, Context, Feeds, Pipeline

if TYPE_CHECKING:
    import torch

MOST_COMPONENTS = 256
RIDGE = 1e-3  # of the mean variance of a component
STEPS, RATE = 300, 0.05  # of the head alone, on all items at once: it is convex


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract(Method):
    """answer(x) ~= W U' (h_k(x) - m) + c: h_k the pooled state after the first k of L blocks, U its principal components.

    k = round(depth * L); 0 reads the embeddings alone. States of tokens are pooled by the mean over those that are no padding.
    W and c: for classes, softmax regression towards the original's own probabilities, started at ridge regression on its
    scores; for anything else the ridge regression. All of it is learned from the train split, and is one linear layer in the
    end: principal components are linear too, and only say how much of h_k a head may use (PCA: Hotelling 1933; probes of
    intermediate layers: Alain & Bengio, arXiv 1610.01644).
    depth: share of the blocks, from 0 to less than 1. components: how many of U at most. num_items: of the train split.
    """

    depth: float = 0.5
    components: int = 128
    num_items: int = 8000

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"float_weights"})
    adds: ClassVar[frozenset[str]] = frozenset({"extracted"})
    family: ClassVar[Family] = "structure"

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        if not 0.0 <= self.depth < 1.0:
            raise BuildError(f"extract: depth is a share of the blocks from 0 to less than 1, not {self.depth:g}")
        if not 1 <= self.components <= MOST_COMPONENTS:
            raise BuildError(f"extract: components lie between 1 and {MOST_COMPONENTS}, not {self.components}")
        try:
            module = self._made(source, context)
        except BuildError as error:
            raise BuildError(str(error) if str(error).startswith("extract") else f"extract: {error}") from error
        from farthing.forms import torch_form

        return torch_form.derive(module, source, directory, source.traits - self.drops | self.adds)

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return too_little_to_learn(profile) or (cls(depth=0.5), cls(depth=0.25), cls(depth=0.0))

    def predicted_speedup(self, profile: Profile) -> float:
        share = profile.model_s / (profile.model_s + profile.host_s)
        return 1.0 / (1.0 - 0.95 * share * (1.0 - self.depth))

    def _made(self, source: Pipeline, context: Context) -> "torch.nn.Module":
        import torch

        from farthing.forms import torch_form
        from farthing.forms.early import EarlyExit
        from farthing.training.blocks import like_blocks
        from farthing.training.lessons import lesson

        torch.set_num_threads(context.threads)
        original = torch_form.load(source)
        stack = like_blocks(original)
        if stack is None:
            raise BuildError(f"{type(original).__name__} has no list of three or more like blocks to stop after")
        mask = next((i for i, spec in enumerate(source.inputs) if spec.name == "attention_mask"), None)
        num_blocks = round(self.depth * len(original.get_submodule(stack)))
        early = EarlyExit(original, stack, num_blocks, mask)

        def ask(module: torch.nn.Module, feeds: Feeds) -> torch.Tensor:
            return torch_form.first(module(*torch_form.tensors(feeds, source.inputs))).float()

        with torch.no_grad():
            early.drop_unreached(*torch_form.tensors(calibration(context)[0], source.inputs))
        taught = lesson(source, context, original, ask, num_items=self.num_items)
        if taught.answers.ndim != 2:
            raise BuildError(
                f"the original answers shape {tuple(taught.answers.shape[1:])} for each item; a head gives one row"
            )
        early.set_head(*_head(taught.answers_of(early), taught.answers, taught.labels, self.components))
        return early


def _head(
    states_ND: "torch.Tensor", answers_NC: "torch.Tensor", labels: Array | None, components: int
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """(weight (C, D), bias (C,)) of the linear layer that stands for W U' (h - m) + c."""
    import torch

    from farthing.training.distances import class_labels

    mean_D = states_ND.mean(0)
    centred_ND = (states_ND - mean_D).double()
    _, spread_K, components_KD = torch.linalg.svd(centred_ND, full_matrices=False)
    kept = min(components, int((spread_K > 1e-6 * spread_K[0]).sum()))
    if kept == 0:
        raise BuildError("the states of this block are the same for every item: choose a larger depth")
    scale_K = spread_K[:kept] / np.sqrt(len(states_ND))
    to_K_D = components_KD[:kept] / scale_K[:, None]
    x_NK = centred_ND @ to_K_D.T
    target_NC = answers_NC.double()
    middle_C = target_NC.mean(0)
    gram = x_NK.T @ x_NK / len(x_NK) + RIDGE * torch.eye(kept, dtype=torch.float64)
    weight_CK = torch.linalg.solve(gram, x_NK.T @ (target_NC - middle_C) / len(x_NK)).T
    if class_labels(labels, answers_NC) is not None:
        weight_CK, middle_C = _softmax_regression(x_NK, target_NC, weight_CK, middle_C)
    weight_CD = weight_CK @ to_K_D
    return weight_CD.float(), (middle_C - weight_CD @ mean_D.double()).float()


def _softmax_regression(x_NK: Any, scores_NC: Any, weight_CK: Any, bias_C: Any) -> tuple[Any, Any]:
    """Least mean H(s(scores), s(x W' + c)) + RIDGE |W|^2 / 2, by Adam from the ridge solution."""
    import torch

    known_NC = scores_NC.softmax(-1)
    weight, bias = (value.clone().requires_grad_(True) for value in (weight_CK, bias_C))
    optimizer = torch.optim.Adam([weight, bias], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = -(known_NC * (x_NK @ weight.T + bias).log_softmax(-1)).sum(-1).mean() + RIDGE * weight.square().sum() / 2
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weight.detach(), bias.detach()
