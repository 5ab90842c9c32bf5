"""The laws of a router."""

from collections import Counter

from farthing.routers.base import Load, Router

MANY = 400


def check_router(router: Router) -> None:
    """It always names one of those that are there, and among equal replicas no one starves."""
    alone = [Load(name="only", in_flight=0, slots=1)]
    assert router.choose(alone) == 0
    equal = [Load(name=f"replica-{i}", in_flight=0, slots=1) for i in range(4)]
    chosen = Counter(router.choose(equal) for _ in range(MANY))
    assert set(chosen) == set(range(4)), f"of {MANY} batches, replicas {sorted(set(range(4)) - set(chosen))} got none"
    some = equal[1:3]  # others are busy now
    assert all(0 <= router.choose(some) < len(some) for _ in range(MANY))
