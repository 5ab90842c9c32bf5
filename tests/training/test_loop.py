"""The training loop: it learns, keeps the best, stops, and resumed it ends where an undisturbed one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing.errors import BuildError
from farthing.training import Schedule, fit, loop
from farthing.types import Learning

N = 200
X = torch.from_numpy(np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32))
Y = (X @ torch.tensor([1.0, -2.0, 0.5, 0.0, 0.0, 3.0]))[:, None]
ONES = np.ones(N, int)


def student() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))


def squared(module: nn.Module, items: np.ndarray) -> torch.Tensor:
    return ((module(X[items]) - Y[items]) ** 2).mean()


def weights(module: nn.Module) -> list[np.ndarray]:
    return [p.detach().numpy().copy() for p in module.parameters()]


def silent(_: Learning) -> None: ...


def test_it_learns_and_ends_in_eval_mode_with_the_best_weights() -> None:
    module = student()
    schedule = Schedule(epochs=12, learning_rate=1e-2, patience=12, seed=3)
    told: list[Learning] = []
    fitted = fit(module, squared, ONES, schedule=schedule, tell=told.append)
    assert min(fitted.losses) < 0.3 * fitted.losses[0]
    assert not module.training and not any(p.requires_grad for p in module.parameters())
    held_out = np.sort(np.random.default_rng(3).permutation(N)[: N // 10])
    with torch.no_grad():
        assert float(squared(module, held_out)) == pytest.approx(fitted.losses[fitted.best_epoch], rel=1e-4)
    ended = [learning for learning in told if learning.loss is not None]
    assert [learning.share for learning in ended] == pytest.approx([(n + 1) / 12 for n in range(12)])
    assert "epoch 12 of 12: held-out loss" in str(ended[-1]) and "s left" in str(ended[0])


def test_inside_an_epoch_it_tells_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "TOLD_S", 0.0)
    told: list[Learning] = []
    fit(student(), squared, ONES, schedule=Schedule(epochs=2, batch_size=30), tell=told.append)
    assert [learning.share for learning in told] == pytest.approx(
        [n / 12 for n in (1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12)]
    )
    assert [learning.epoch for learning in told] == [0] * 6 + [1] * 7 + [2]
    assert told[-1].left_s == 0.0 < told[0].left_s


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    modules = [student() for _ in range(3)]
    for module, seed in zip(modules, (5, 5, 6), strict=True):
        fit(module, squared, ONES, schedule=Schedule(epochs=2, seed=seed), tell=silent)
    same, again, other = (weights(module) for module in modules)
    assert all(np.array_equal(a, b) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(same, other, strict=True))


def test_the_callers_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    fit(student(), squared, ONES, schedule=Schedule(epochs=1), tell=silent)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("interrupted_at", [1, 4, 9])  # of steps: in the first epoch, at its end, in the second
def test_a_training_that_was_interrupted_ends_with_the_same_weights(tmp_path, monkeypatch, interrupted_at: int) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)
    schedule, undisturbed = Schedule(epochs=3, batch_size=45, learning_rate=1e-2), student()
    fit(undisturbed, squared, ONES, schedule=schedule, tell=silent)
    calls = 0

    def dying(module: nn.Module, items: np.ndarray) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > interrupted_at:
            raise KeyboardInterrupt
        return squared(module, items)

    with pytest.raises(KeyboardInterrupt):
        fit(student(), dying, ONES, schedule=schedule, checkpoints=tmp_path / "fit", tell=silent)
    resumed = student()
    fit(resumed, squared, ONES, schedule=schedule, checkpoints=tmp_path / "fit", tell=silent)
    assert all(np.array_equal(a, b) for a, b in zip(weights(undisturbed), weights(resumed), strict=True))


def test_a_killed_training_goes_on(tmp_path) -> None:
    """kill -9 after the first checkpoint; the second process begins where the first was, and ends with the same weights."""
    folder = tmp_path / "fit"
    command = [sys.executable, str(Path(__file__).with_name("slow_training.py")), str(folder)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (folder / loop.FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=120, check=True)
    whole = subprocess.run(
        [*command[:2], str(tmp_path / "whole"), "0"], capture_output=True, text=True, timeout=120, check=True
    )
    assert second.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
    steps = [int(done.stdout.splitlines()[-2]) for done in (second, whole)]
    assert steps[0] < steps[1], "it began anew"


def test_it_stops_when_nothing_gets_better() -> None:
    def noise(module: nn.Module, items: np.ndarray) -> torch.Tensor:
        held_out = not module.training
        worse = 1.0 + noise.calls if held_out else 1.0  # type: ignore[attr-defined]
        noise.calls += held_out  # type: ignore[attr-defined]
        return sum(p.sum() for p in module.parameters()) * 0.0 + worse

    noise.calls = 0  # type: ignore[attr-defined]
    fitted = fit(student(), noise, ONES, schedule=Schedule(epochs=50, patience=2), tell=silent)
    assert (len(fitted.losses), fitted.best_epoch) == (3, 0)


def test_a_training_that_diverges_keeps_the_last_good_weights() -> None:
    good: list[list[np.ndarray]] = []

    def exploding(module: nn.Module, items: np.ndarray) -> torch.Tensor:
        if not module.training and not good:
            good.append(weights(module))
        return squared(module, items) * (float("nan") if good and module.training else 1.0)

    module = student()
    fitted = fit(module, exploding, ONES, schedule=Schedule(epochs=9), tell=silent)
    assert len(fitted.losses) == 2 and np.isnan(fitted.losses[1])
    assert all(np.array_equal(a, b) for a, b in zip(weights(module), good[0], strict=True))


def test_a_training_that_never_was_finite_says_what_to_lower() -> None:
    with pytest.raises(BuildError, match=r"diverged.*Lower learning_rate \(0.0005\)"):
        fit(student(), lambda m, i: squared(m, i) * float("inf"), ONES, schedule=Schedule(), tell=silent)


def test_too_few_items_are_refused() -> None:
    with pytest.raises(BuildError, match="at least 20 items; there are 3"):
        fit(student(), squared, np.ones(3), schedule=Schedule(), tell=silent)


def test_items_of_like_length_share_a_batch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, N)
    spreads: list[int] = []

    def watching(module: nn.Module, items: np.ndarray) -> torch.Tensor:
        spreads.append(int(np.ptp(lengths[items])))
        return squared(module, items)

    fit(student(), watching, lengths, schedule=Schedule(epochs=1, batch_size=10), tell=silent)
    assert np.mean(spreads) < 15
