"""Envoy's rules: five errors in a row, longer each time, one in ten but at least one, never the last."""

from farthing.pooling.outliers import (
    BASE_EJECTION_S,
    CONSECUTIVE_ERRORS,
    INTERVAL_S,
    MOST_EJECTION_S,
    Outliers,
    retry_budget,
)

PAIR = ["a", "b"]


def fail(outliers: Outliers, name: str, now: float, ready: list[str] = PAIR, times: int = CONSECUTIVE_ERRORS) -> bool:
    return [outliers.failed(name, ready, now) for _ in range(times)][-1]


def test_errors_in_a_row_eject_and_a_success_forgets_them() -> None:
    outliers = Outliers()
    assert not fail(outliers, "a", 0.0, times=CONSECUTIVE_ERRORS - 1)
    outliers.succeeded("a")
    assert not fail(outliers, "a", 0.0, times=CONSECUTIVE_ERRORS - 1)
    assert fail(outliers, "a", 0.0, times=1)
    assert outliers.is_ejected("a", BASE_EJECTION_S - 1)
    assert not outliers.is_ejected("a", BASE_EJECTION_S)
    assert not outliers.is_ejected("b", 0.0)


def test_each_ejection_is_longer_up_to_a_limit_and_calm_makes_it_shorter_again() -> None:
    outliers, now, lengths = Outliers(), 0.0, []
    for _ in range(12):
        assert fail(outliers, "a", now)
        lengths.append(outliers.records["a"].back_at_s - now)
        now = outliers.records["a"].back_at_s
    assert lengths[:3] == [BASE_EJECTION_S, 2 * BASE_EJECTION_S, 3 * BASE_EJECTION_S]
    assert max(lengths) == MOST_EJECTION_S
    assert outliers.num_ejections == 12
    now += 100 * INTERVAL_S
    fail(outliers, "a", now)
    assert outliers.records["a"].back_at_s - now == BASE_EJECTION_S


def test_the_last_one_stays() -> None:
    outliers = Outliers()
    assert not fail(outliers, "a", 0.0, ["a"], times=50)
    assert fail(outliers, "b", 0.0, PAIR)
    assert not fail(outliers, "a", 0.0, PAIR, times=50), "b is out already"


def test_one_in_ten_may_be_out_and_one_always() -> None:
    three, twenty = [f"r{i}" for i in range(3)], [f"r{i}" for i in range(20)]
    for ready, most in ((three, 1), (twenty, 2)):
        outliers = Outliers()
        assert sum(fail(outliers, name, 0.0, ready) for name in ready) == most


def test_the_retry_budget() -> None:
    assert [retry_budget(active) for active in (0, 15, 100)] == [3, 3, 20]
