"""Texts that look alike and mean something else."""

import pytest

from farthing.caching.guards import refuses


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("is my card blocked", "is my card not blocked", "a negation"),
        ("I can pay this", "I can't pay this", "a negation"),
        ("I can pay this", "I can’t pay this", "a negation"),
        ("flights with a stop", "flights without a stop", "a negation"),
        ("transfer 100 dollars", "transfer 1000 dollars", "a number"),
        ("transfer twenty dollars", "transfer thirty dollars", "a number"),
        ("what is error E404", "what is error E500", "a number"),
        ("wake me at 7:30", "wake me at 7:45", "a number"),
        ("the weather on monday", "the weather on tuesday", "a time"),
        ("flights to Paris", "flights to London", "a name"),
        ("Flights to Paris please", "Flights please", "a name"),
        ("fly from boston to denver", "fly from denver to boston", "a direction"),
        ("turn the lights on", "turn the lights off", "an opposite"),
        ("please freeze my account", "please unfreeze my account", "an opposite"),
    ],
)
def test_refused(one, other, why):
    assert refuses(one, other) == why and refuses(other, one) == why


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what's my balance", "tell me my balance"),
        ("transfer 100 dollars", "please transfer 100 dollars"),
        ("transfer twenty dollars", "move 20 dollars over"),
        ("flights to Paris", "show flights to paris"),
        ("How do I pay", "how can I pay"),
        ("don't call me", "do not call me"),
        ("WHERE IS MY CARD", "where is my card"),
        ("which one is best", "which is best"),
        ("Can I pay", "I'd like to pay"),
        ("", ""),
    ],
)
def test_let_through(one, other):
    assert refuses(one, other) is None
