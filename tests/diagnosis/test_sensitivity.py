"""int8 errors of single layers: against the error computed by hand, and with an outlier put in and taken out."""

import pytest
import torch
from torch import nn

from farthing.diagnosis.sensitivity import sensitivities


def network(outlier: float) -> nn.Sequential:
    """Six layers; the fourth reads one channel that is `outlier` times the others, and weighs it so much less."""
    torch.manual_seed(0)
    layers = [nn.Linear(32, 32, bias=False) for _ in range(6)]
    with torch.no_grad():
        layers[2].weight[0] *= outlier
        layers[3].weight[:, 0] /= outlier
    return nn.Sequential(*layers).eval()


def batches(num: int = 2) -> list[tuple[torch.Tensor, ...]]:
    return [(torch.randn(4, 32, generator=torch.Generator().manual_seed(i)),) for i in range(num)]


def test_an_outlier_channel_makes_its_reader_the_worst_layer() -> None:
    (worst, error), (_, second), *_ = sensitivities(network(outlier=300.0), batches()).errors
    assert worst == "3"
    assert error > 10 * second


def test_without_the_outlier_layers_err_alike() -> None:
    errors = [error for _, error in sensitivities(network(outlier=1.0), batches()).errors]
    assert len(errors) == 6
    assert 0 < errors[0] < 3 * errors[-1]


def test_error_of_one_layer_by_hand() -> None:
    layer = nn.Linear(2, 1, bias=False).eval()
    layer.weight.data = torch.tensor([[1.27, 0.504]])  # scale 0.01: 127 and 50.4 -> 50 steps
    inputs = torch.tensor([[1.0, 2.55], [1.004, 1.0]])  # 0 to 2.55 in 255 steps of 0.01, though nothing is below 1
    expected = [1.0 * 1.27 + 2.55 * 0.504, 1.004 * 1.27 + 1.0 * 0.504]
    answers = [1.0 * 1.27 + 2.55 * 0.5, 1.0 * 1.27 + 1.0 * 0.5]
    by_hand = (sum((a - e) ** 2 for a, e in zip(answers, expected, strict=True)) / sum(e**2 for e in expected)) ** 0.5
    ((_, error),) = sensitivities(nn.Sequential(layer), [(inputs,)]).errors
    assert error == pytest.approx(by_hand, rel=1e-3)


def test_the_callers_module_is_never_changed() -> None:
    module = network(outlier=300.0)
    before = [parameter.clone() for parameter in module.parameters()]

    class Watch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
            assert not any(layer._forward_pre_hooks for layer in module)
            return x

    assert sensitivities(nn.Sequential(module, Watch()), batches()).errors


def test_convolutions_are_layers_and_uncalled_layers_are_not() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.unused = nn.Conv2d(3, 4, 3), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.image(x), x

    result = sensitivities(Net().eval(), [(torch.randn(2, 3, 8, 8),)])
    assert [path for path, _ in result.errors] == ["image"]


def test_a_layer_that_reads_zeros_has_no_error() -> None:
    ((_, error),) = sensitivities(nn.Sequential(nn.Linear(4, 4)).eval(), [(torch.zeros(2, 4),)]).errors
    assert error < 0.01


def test_out_of_time_the_smaller_layers_stay_untried() -> None:
    module = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 64), nn.Linear(64, 8)).eval()
    result = sensitivities(module, [(torch.randn(2, 8),)], max_s=0.0)
    assert [path for path, _ in result.errors] == ["1"]
    assert result.num_untried == 2


def test_only_the_first_rows_are_used() -> None:
    seen: list[int] = []
    module = nn.Sequential(nn.Linear(32, 32)).eval()

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x

    sensitivities(nn.Sequential(Counting(), module), batches(num=20))
    assert seen == [4, 4, 4, 4]  # 8 rows to observe, 8 for the one layer
