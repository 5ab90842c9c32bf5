"""Matching: what a student computes on the way is drawn towards what the original computes, block by block.

Shape suffixes: B items, L tokens, D width, H heads, C channels, P places.
"""

import math

import torch
from torch import nn

from farthing.errors import BuildError
from farthing.training.blocks import attention_layers, captured, is_convolutional, pairs
from farthing.training.lessons import Ask
from farthing.types import Feeds

RELATION_WIDTH = 32  # of one head, about: MiniLMv2 takes more heads than the model has
MASK = "attention_mask"


class Learner(nn.Module):  # type: ignore[misc]
    """A student with the projections that make its hidden states as wide as the original's. Only the student is kept."""

    def __init__(self, student: nn.Module, projections: nn.ModuleList) -> None:
        super().__init__()
        self.student, self.projections = student, projections


class Matching:
    """hidden * mean over paired blocks of ||P h_s - h_t||^2 / ||h_t||^2 + attention * (maps or relations), see below.

    P is the identity, or learned where the widths differ (TinyBERT, arXiv 1909.10351; Patient KD, arXiv 1908.09355, which
    compares unit vectors instead). Padded places do not count.
    """

    def __init__(self, original: nn.Module, ask: Ask, *, hidden: float, attention: float) -> None:
        self.original, self.ask, self.hidden, self.attention = original, ask, hidden, attention
        self.pairs: list[tuple[str, str]] = []
        self.relations: list[tuple[str, str]] = []

    def learner(self, student: nn.Module, probe: Feeds, seed: int) -> Learner:
        """`student` with the projections that it needs. Raises BuildError naming a block that cannot be matched."""
        self.pairs = pairs(student, self.original)
        if self.attention and not is_convolutional(self.original.get_submodule(self.pairs[-1][1])):
            self.relations = attention_layers(student, self.original, self.pairs[-1])
        with torch.no_grad():
            _, ours, theirs = self._run(student, probe)
        for path, known in self.pairs:
            _check_places(path, ours[path], known, theirs[known], self._axis(known))
        widths = [(ours[path].shape[self._axis(t)], theirs[t].shape[self._axis(t)]) for path, t in self.pairs]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = [nn.Linear(a, b, bias=False) if self.hidden and a != b else nn.Identity() for a, b in widths]
        return Learner(student, nn.ModuleList(made))

    def loss(self, learner: Learner, feeds: Feeds) -> tuple[torch.Tensor, torch.Tensor]:
        """(what the student answers, the weighted sum of what its blocks do differently)."""
        answers, ours, theirs = self._run(learner.student, feeds)
        mask = torch.from_numpy(feeds[MASK]) if MASK in feeds else None
        apart = answers.new_zeros(())
        if self.hidden:
            for (path, known), projection in zip(self.pairs, learner.projections, strict=True):
                got = projection(ours[path].movedim(self._axis(known), -1).float())
                apart += _relative_error(got, theirs[known].movedim(self._axis(known), -1).float(), mask) / len(self.pairs)
            apart = self.hidden * apart
        if self.relations:
            told = [relation_divergence(ours[path], theirs[known], mask) for path, known in self.relations]
            apart = apart + self.attention * torch.stack(told).mean()
        elif self.attention:
            told = [map_distance(ours[path], theirs[known]) for path, known in self.pairs]
            apart = apart + self.attention * torch.stack(told).mean()
        return answers, apart

    def _run(self, student: nn.Module, feeds: Feeds) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        wanted = [*self.pairs, *self.relations]
        with captured(student, dict(wanted)) as ours:
            answers = self.ask(student, feeds)
        with torch.no_grad(), captured(self.original, {known for _, known in wanted}) as theirs:
            self.ask(self.original, feeds)
        return answers, ours, theirs

    def _axis(self, known: str) -> int:
        """Of the channels, in what this block of the original returns."""
        return 1 if is_convolutional(self.original.get_submodule(known)) else -1


def map_distance(ours_BCP: torch.Tensor, theirs_BCP: torch.Tensor) -> torch.Tensor:
    """||q_s / |q_s| - q_t / |q_t| ||^2 with q = sum over channels of the square, a map of where a convolution looks.

    Attention transfer, Zagoruyko & Komodakis, arXiv 1612.03928, equation 2 with p = 2, squared.
    """
    ours, theirs = (nn.functional.normalize(x.float().square().sum(1).flatten(1), dim=1) for x in (ours_BCP, theirs_BCP))
    return (ours - theirs).square().sum(1).mean()


def relation_divergence(ours_BLD: torch.Tensor, theirs_BLD: torch.Tensor, mask_BL: torch.Tensor | None) -> torch.Tensor:
    """Mean over places and heads of KL(R_t || R_s), with R = softmax(X X' / sqrt(d)), X the queries, the keys or the values.

    MiniLM (arXiv 2002.10957), in the form of its second version (arXiv 2012.15828): the width is split into as many relation
    heads on both sides, so that student and original may differ in width and in number of heads.
    """
    common = math.gcd(ours_BLD.shape[-1], theirs_BLD.shape[-1])
    heads = max(1, common // RELATION_WIDTH)
    while common % heads:
        heads -= 1
    theirs, ours = (_relations(x, heads, mask_BL) for x in (theirs_BLD, ours_BLD))
    apart_BHL = (theirs.exp() * (theirs - ours)).sum(-1)
    if mask_BL is None:
        return apart_BHL.mean()
    counts = mask_BL[:, None, :].to(apart_BHL.dtype)
    return (apart_BHL * counts).sum() / (counts.sum() * heads)


def _relations(x_BLD: torch.Tensor, heads: int, mask_BL: torch.Tensor | None) -> torch.Tensor:
    """(B, H, L, L) logarithms of R; what is padded is related to nothing."""
    x_BHLd = x_BLD.unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = (x_BHLd @ x_BHLd.transpose(2, 3)).float() / math.sqrt(x_BHLd.shape[-1])
    if mask_BL is not None:
        scores = scores.masked_fill(mask_BL[:, None, None, :] == 0, -1e4)
    return scores.log_softmax(-1)


def _relative_error(got: torch.Tensor, known: torch.Tensor, mask_BL: torch.Tensor | None) -> torch.Tensor:
    if mask_BL is not None and got.shape[:2] == mask_BL.shape:
        counts = mask_BL.bool()
        got, known = got[counts], known[counts]
    return (got - known).square().sum() / known.square().sum().clamp_min(1e-12)


def _check_places(path: str, ours: torch.Tensor, known: str, theirs: torch.Tensor, axis: int) -> None:
    """Everything but the width must be of one shape."""
    places = [list(x.movedim(axis, -1).shape[:-1]) for x in (ours, theirs)]
    if ours.ndim != theirs.ndim or places[0] != places[1]:
        raise BuildError(
            f"block {path} returns shape {tuple(ours.shape)} and block {known} of the original {tuple(theirs.shape)}: only "
            "their widths may differ. Set hidden = 0 and attention = 0."
        )
