"""The replay buffer: everything that came by has the same chance to be in it, and it never grows."""

from dataclasses import replace

import numpy as np
import pytest

from farthing import codec
from farthing.adaptation import Reservoir
from farthing.adaptation.replay import joined
from farthing.errors import DataError
from farthing.types import Dataset


def items(start: int, stop: int) -> Dataset:
    numbers = np.arange(start, stop)
    return Dataset(columns=([f"text {i}" for i in numbers],), labels=numbers, slices={"even": numbers % 2}, names=("text",))


def test_each_item_is_kept_equally_often_however_it_came() -> None:
    """400 streams of 100 items in pieces of 7, 43 and 50 through 20 places: each item is kept about 80 times."""
    kept = np.zeros(100, int)
    for seed in range(400):
        reservoir = Reservoir(size=20, seed=seed)
        for piece in (items(0, 7), items(7, 50), items(50, 100)):
            reservoir = reservoir.after(piece)
        assert (reservoir.num_seen, len(reservoir.kept), len(set(reservoir.kept.labels))) == (100, 20, 20)
        kept[reservoir.kept.labels] += 1
    expected = 400 * 20 / 100
    chi2 = float(((kept - expected) ** 2 / expected).sum()) / (1 - 20 / 100)
    assert chi2 < 149, f"chi-squared of {chi2:.0f} at 99 degrees of freedom; 149 is its 99.9% quantile"
    assert abs(kept[:7].mean() - kept[50:].mean()) < 4 * np.sqrt(expected / 7)


def test_a_row_stays_together() -> None:
    kept = Reservoir(size=5).after(items(0, 50)).kept
    assert kept.columns[0] == [f"text {i}" for i in kept.labels]
    assert np.array_equal(kept.slices["even"], kept.labels % 2) and kept.names == ("text",)


def test_fewer_than_fit_are_all_kept_and_nothing_changes_nothing() -> None:
    reservoir = Reservoir(size=30).after(items(0, 12))
    assert sorted(reservoir.kept.labels) == list(range(12))
    assert codec.digest(reservoir.after(items(0, 0)).kept) == codec.digest(reservoir.kept)


def test_it_is_recorded_and_goes_on_as_it_would_have() -> None:
    reservoir = Reservoir(size=10, seed=4).after(items(0, 40))
    again = Reservoir(**codec.from_json(codec.to_json(reservoir.facts())))
    assert np.array_equal(reservoir.after(items(40, 90)).kept.labels, again.after(items(40, 90)).kept.labels)


def test_unlike_items_are_refused() -> None:
    with pytest.raises(DataError, match="other columns, labels or slices"):
        joined(items(0, 3), replace(items(0, 3), labels=None))
    with pytest.raises(DataError, match="texts in one set of items and numbers in the other"):
        joined(items(0, 3), replace(items(0, 3), columns=(np.arange(3),)))
    with pytest.raises(DataError, match="a replay buffer of 0 items"):
        Reservoir(size=0).after(items(0, 3))
