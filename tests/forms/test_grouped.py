"""Which layers share an input, in what order a model runs them, and what they are given."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from farthing.errors import BuildError
from farthing.forms import grouped


class Crossed(nn.Module):
    """Declared in another order than run; one layer is called by keyword, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused, self.left, self.right = (nn.Linear(32, 32) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(input=torch.relu(self.left(x) + self.right(x)))


def test_layers_that_share_an_input_stand_together_in_the_order_they_are_run() -> None:
    module = Crossed().eval()
    found = grouped.sharing(module, grouped.linears(module, "gptq"), (torch.randn(4, 32),))
    assert found == [["left", "right"], ["last"], ["unused"]]


def test_what_a_layer_is_given_is_averaged_over_all_rows() -> None:
    module, batches = Crossed().eval(), [(torch.randn(n, 32),) for n in (4, 7)]
    x = torch.cat([batch[0] for batch in batches])
    seen = grouped.seen("gptq", module, module.left, batches)
    assert torch.allclose(seen.moment.float(), x.T @ x / 11, atol=1e-5)
    assert torch.allclose(seen.size, x.abs().mean(0), atol=1e-5)
    never = grouped.seen("gptq", module, module.unused, batches)
    assert not never.moment.any() and not never.size.any()


def test_infinity_inside_the_model_is_told_by_the_method() -> None:
    module = Crossed().eval()
    module.left.weight.data[0, 0] = torch.inf
    with pytest.raises(BuildError, match="gptq: the calibration batches give NaN or infinity inside"):
        grouped.seen("gptq", module, module.last, [(torch.randn(4, 32),)])


def test_a_weight_that_is_computed_is_not_packed() -> None:
    module = Crossed()
    parametrizations.weight_norm(module.left)
    assert "left" not in dict(grouped.linears(module, "gptq"))


class Twice(Crossed):
    """Runs one layer twice, and something after it that must not be reached once enough was seen."""

    def __init__(self) -> None:
        super().__init__()
        self.num_ends = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.right(self.left(self.left(x)))
        self.num_ends += 1
        return answer


def test_an_answer_is_broken_off_when_the_layer_was_run_as_often_as_in_the_first() -> None:
    module, batches = Twice().eval(), [(torch.randn(4, 32),) for _ in range(3)]
    x = torch.cat([batch[0] for batch in batches])
    seen = grouped.seen("gptq", module, module.left, batches)
    both = torch.cat([x, module.left(x)]).detach()
    assert torch.allclose(seen.moment.float(), both.T @ both / len(both), atol=1e-5)
    assert module.num_ends == 1
