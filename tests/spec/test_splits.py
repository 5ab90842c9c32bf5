"""Splits are disjoint, seeded, stable when rows are added, and keep together what belongs together."""

from collections.abc import Sequence

import numpy as np
import pytest

from farthing.errors import DataError
from farthing.spec.rows import Rows
from farthing.spec.schema import DataTable
from farthing.spec.splits import NAMES, split
from farthing.types import Dataset, Splits

TEXTS = [f"text {i}" for i in range(1000)]


def rows(
    *columns: Sequence[object], pair: bool = False, groups: list[str] | None = None, sides: list[str] | None = None
) -> Rows:
    labels = np.arange(len(columns[0])) % 7
    return Rows(dataset=Dataset(columns=tuple(columns), labels=labels, pair=pair), groups=groups, sides=sides)


def parts(splits: Splits) -> dict[str, Dataset]:
    return {name: getattr(splits, name) for name in NAMES}


def sides(splits: Splits) -> dict[str, str]:
    """text -> the split it is in; fails if it is in two."""
    found: dict[str, str] = {}
    for name, part in parts(splits).items():
        for request in part.requests:
            assert found.setdefault(request[0], name) == name, request[0]
    return found


def test_shares_and_disjoint() -> None:
    table = DataTable(input="t", splits={"train": 0.1, "calibrate": 0.2, "search": 0.3, "verify": 0.4})
    splits, notes = split(rows(TEXTS), None, table, seed=0)
    assert sorted(sides(splits)) == sorted(TEXTS)
    for name, share in (table.splits or {}).items():
        # 4.5 standard deviations of a binomial: by chance alone in one of 100,000 seeds, and the seed is fixed
        assert abs(len(parts(splits)[name]) - 1000 * share) < 4.5 * (1000 * share * (1 - share)) ** 0.5
    assert notes == ()


def test_train_is_empty_by_default() -> None:
    splits, _ = split(rows(TEXTS), None, DataTable(input="t"), seed=0)
    assert len(splits.train) == 0 and len(splits.train.labels) == 0
    assert len(splits.verify) > len(splits.search) > len(splits.calibrate)


def test_items_keep_their_labels() -> None:
    splits, _ = split(rows(TEXTS), None, DataTable(input="t"), seed=0)
    for part in parts(splits).values():
        assert [int(request[0].split()[1]) % 7 for request in part.requests] == part.labels.tolist()


def test_same_seed_same_sides_and_another_seed_others() -> None:
    first, again, other = (sides(split(rows(TEXTS), None, DataTable(input="t"), seed=seed)[0]) for seed in (0, 0, 1))
    assert first == again != other


def test_new_rows_never_move_old_ones() -> None:
    few = sides(split(rows(TEXTS[::-2]), None, DataTable(input="t"), seed=0)[0])
    many = sides(split(rows(TEXTS), None, DataTable(input="t"), seed=0)[0])
    assert few.items() <= many.items()


def test_equal_inputs_stay_together() -> None:
    splits, _ = split(rows(TEXTS * 2), None, DataTable(input="t"), seed=0)
    assert len(sides(splits)) == 1000
    assert sum(map(len, parts(splits).values())) == 2000


def test_equal_arrays_stay_together_however_they_are_stored() -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 3, 3))
    integers, _ = split(rows(images), None, DataTable(input="t"), seed=0)
    floats, _ = split(rows(images.astype(np.float32)), None, DataTable(input="t"), seed=0)
    assert np.array_equal(integers.verify.columns[0], floats.verify.columns[0])


def test_groups_stay_together() -> None:
    groups = [str(i % 100) for i in range(1000)]
    splits, _ = split(rows(TEXTS, groups=groups), None, DataTable(input="t", group="g"), seed=0)
    found = sides(splits)
    for group in range(100):
        assert len({found[text] for text in TEXTS[group::100]}) == 1


def test_groups_do_not_lean_to_one_side() -> None:
    """The least of many keys is small: were it the side itself, large groups would all go to the first split."""
    groups = [str(i % 200) for i in range(4000)]
    texts = [f"text {i}" for i in range(4000)]
    table = DataTable(input="t", group="g", splits={"calibrate": 0.5, "search": 0.25, "verify": 0.25})
    splits, _ = split(rows(texts, groups=groups), None, table, seed=0)
    assert 0.35 < len(splits.calibrate) / 4000 < 0.65


def test_pairs_that_share_a_text_stay_together() -> None:
    left, right = [f"a {i // 2}" for i in range(600)], [f"b {i}" for i in range(600)]
    splits, notes = split(rows(left, right, pair=True), None, DataTable(input=("l", "r"), pair=True), seed=0)
    assert len(sides(splits)) == 900
    assert notes == ("splits by default: calibrate 10%, search 30%, verify 60%",)


def test_pairs_that_are_all_tied_together_are_split_whole_and_it_is_said() -> None:
    left, right = ["one and the same"] * 600, [f"b {i}" for i in range(600)]
    splits, notes = split(rows(left, right, pair=True), None, DataTable(input=("l", "r"), pair=True), seed=0)
    assert "texts in common tie 100% of the pairs together" in notes[0]
    assert sum(map(len, parts(splits).values())) == 600


def test_the_rest_drops_what_the_verify_table_holds() -> None:
    pool, held_out = rows(TEXTS), rows(TEXTS[:100])
    table = DataTable(input="t", verify={})
    splits, notes = split(pool, held_out, table, seed=0)
    assert splits.verify.columns == held_out.dataset.columns
    assert len(splits.calibrate) + len(splits.search) == 900
    assert notes[0].startswith("100 of 1000 rows were dropped")
    assert len(sides(splits)) == 1000


def test_pairs_drop_a_pair_for_one_text_in_the_verify_table() -> None:
    pool = rows([f"a {i}" for i in range(200)], [f"b {i}" for i in range(200)], pair=True)
    held_out = rows([f"a {i}" for i in range(50)], [f"c {i}" for i in range(50)], pair=True)
    splits, _ = split(pool, held_out, DataTable(input=("l", "r"), pair=True, verify={}), seed=0)
    assert len(splits.calibrate) + len(splits.search) == 150
    assert len(sides(splits)) == 150 * 2 + 50 * 2


def test_sides_that_the_person_gave() -> None:
    given = ["search"] * 500 + ["verify"] * 400 + ["calibrate"] * 100
    splits, notes = split(rows(TEXTS, sides=given), None, DataTable(input="t", split="s"), seed=0)
    assert [len(part) for part in parts(splits).values()] == [0, 100, 500, 400]
    assert notes == ()


def test_a_row_on_two_given_sides_stays_nearest_to_verify() -> None:
    given = ["search"] * 500 + ["verify"] * 400 + ["calibrate"] * 100
    texts = [*TEXTS[:900], *TEXTS[450:550]]  # of the last 100, 50 are in search and 50 in verify
    with pytest.raises(DataError, match="calibrate needs at least 4 items, the splits are train 0, calibrate 0, search 500"):
        split(rows(texts, sides=given), None, DataTable(input="t", split="s"), seed=0)
    texts[-10:] = TEXTS[990:]
    splits, notes = split(rows(texts, sides=given), None, DataTable(input="t", split="s"), seed=0)
    assert len(splits.calibrate) == 10 and notes[0].startswith("90 of 1000 rows were dropped")
    assert len(sides(splits)) == 910


def test_an_unknown_side() -> None:
    with pytest.raises(DataError, match=r"split column, row 1 is 'varify': expected one of train, .*Did you mean 'verify'"):
        split(rows(TEXTS, sides=["varify"] * 1000), None, DataTable(input="t", split="s"), seed=0)


def test_limit() -> None:
    splits, _ = split(rows(TEXTS), None, DataTable(input="t", limit=200), seed=0)
    found = sides(splits)
    assert len(found) == 200
    assert found.items() <= sides(split(rows(TEXTS), None, DataTable(input="t"), seed=0)[0]).items()


def test_too_few_items() -> None:
    with pytest.raises(DataError, match=r"needs at least \d+ items, the splits are .* Bring more rows"):
        split(rows(TEXTS[:20]), None, DataTable(input="t"), seed=0)
    with pytest.raises(DataError, match="up to 1000 rows are tied together by equal inputs or groups"):
        split(rows(TEXTS, groups=["one"] * 1000), None, DataTable(input="t", group="g"), seed=0)


def test_one_class_on_one_side() -> None:
    given = ["search"] * 500 + ["verify"] * 400 + ["calibrate"] * 100
    pool = rows(TEXTS, sides=given)
    pool.dataset.labels[500:900] = 1
    with pytest.raises(DataError, match="all 400 items of verify have the label 1: with one class"):
        split(pool, None, DataTable(input="t", split="s"), seed=0)
