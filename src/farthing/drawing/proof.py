"""The promise in plain words: what was tested, on how much data, how sure it is, and what the verdict means."""

import math

from farthing.drawing.markup import Safe, bullets, deployed, empty, fine, join, lead, table, tag, term, verdict
from farthing.facts import finalists, worst_first
from farthing.results import Candidate, Certificate, Decision
from farthing.wording import asked, percent, plain, reached, subject

MARGIN_WIDTH = 160  # of the drawing, in its own units
MEANING = {
    "PASS": "PASS: the worst that the data leaves room for is inside the limit.",
    "FAIL": "FAIL: even the best that the data leaves room for is beyond the limit.",
    "INCONCLUSIVE": "INCONCLUSIVE: between the best and the worst that the data leaves room for lies the limit: no proof.",
}


def quality(decision: Decision) -> Safe:
    tested = [candidate for candidate in finalists(decision) if candidate.certificates]
    if not tested:
        return empty("No candidate came as far as a certificate.")
    told = decision.chosen if decision.chosen in tested else tested[0]
    assert told is not None
    who = "the choice" if told == decision.chosen else "the first finalist"
    head = ("deployment", "what is promised", "loss seen", "at most", "allowed", "margin", "verdict")
    rows = [_row(decision, candidate, test) for candidate in tested for test in worst_first(candidate.certificates)]
    tests = [test for candidate in tested for test in candidate.certificates]
    intro = lead(
        "Each ", term("finalist"), " and the original answered the same items, which the search had never seen. ",
        f"Below, what that proves of {who}; then the ", term("certificate"), "s of all finalists.",
    )  # fmt: skip
    return join(
        [intro, bullets([_sentence(decision, test) for test in worst_first(told.certificates)]), _sure(decision, tests),
         tag("h3", "Every finalist, worst first"), table(head, rows, numeric=(2, 3, 4)), _limits(tests)]
    )  # fmt: skip


def promises(decision: Decision, candidate: Candidate) -> list[Safe]:
    """One line for each floor and slice, worst first: what is certain, what is allowed, the verdict."""
    return [
        join([verdict(test), " ", tag("b", subject(test, decision.floors)), f" {reached(test)}; {asked(test)}"])
        for test in worst_first(candidate.certificates)
    ]


def _sentence(decision: Decision, test: Certificate) -> Safe:
    values = f"the original reaches {plain(test.original)}, this one {plain(test.candidate)}. "
    if not math.isfinite(test.original):
        values = f"{test.protocol}. "
    sure = f"With {confidence(test)} confidence it {reached(test)}; {asked(test)}. "
    more = f" About {test.items_missing:,} more items would settle it." if test.items_missing else ""
    what = (tag("b", subject(test, decision.floors)), f" on {test.num_items:,} items: {values}{sure}")
    return join([*what, verdict(test), f" {MEANING[test.verdict].partition(': ')[2].capitalize()}{more}"])


def confidence(test: Certificate) -> str:
    return f"{100 * (1 - test.alpha):.4g}%"


def _sure(decision: Decision, tests: list[Certificate]) -> Safe:
    """What the confidence means, and why single tests are stricter than what was asked for."""
    levels = sorted({test.alpha for test in tests})
    risk = f"Were one of them really beyond its limit, a test like this would pass it in at most {percent(levels[-1])} of cases"
    wanted = max((1 - floor.confidence for floor in decision.floors), default=levels[-1])
    shared = levels[0] < wanted - 1e-9
    why = (
        f" (the job allows {percent(wanted)}, which is shared among the finalists and other runs on the same items)"
        if shared
        else ""
    )
    return fine(f"{risk}{why}.")


def _limits(tests: list[Certificate]) -> Safe:
    methods = "; ".join(sorted({f"{test.protocol}, one-sided at {confidence(test)}" for test in tests}))
    least = max(test.certifiable_drop for test in tests)
    can = (
        f"The least loss that this many items could certify, were the true loss zero: {plain(least)}. "
        if math.isfinite(least)
        else ""
    )
    return fine(f"{can}Methods: {methods}.")


def _row(decision: Decision, candidate: Candidate, test: Certificate) -> tuple[str, ...]:
    items = f"{test.num_items:,} items" + (f", about {test.items_missing:,} more needed" if test.items_missing else "")
    aim = f", at least {plain(test.minimum)}" if test.minimum is not None else ""
    change = tag("small", f"{plain(test.original)} → {plain(test.candidate)}")
    figures = (plain(value) for value in (test.drop, test.upper_bound, test.max_drop))
    what = join([subject(test, decision.floors), aim, change])
    return (deployed(candidate), what, *figures, margin(test), join([verdict(test), tag("small", items)]))


def margin(test: Certificate) -> Safe:
    """Dot at the drop, bar up to its bound, on green as far as it is allowed and red beyond."""
    drop = test.drop if math.isfinite(test.drop) else 0.0
    bound = test.upper_bound if math.isfinite(test.upper_bound) else 2 * max(test.max_drop, drop)
    low, high = 1.1 * min(0.0, drop), 1.15 * max(test.max_drop, bound, drop)
    span = high - low or 1.0

    def x(value: float) -> str:
        return f"{MARGIN_WIDTH * (value - low) / span:.1f}"

    def bar(start: float, end: float, class_: str) -> Safe:
        return tag("line", x1=x(start), x2=x(end), y1="10", y2="10", class_=class_)

    dot = tag("circle", cx=x(drop), cy="10", r="4")
    lines = (bar(low, test.max_drop, "allowed"), bar(test.max_drop, high, "refused"), bar(drop, bound, "reach"), dot)
    label = f"loss {plain(test.drop)}, at most {plain(test.upper_bound)}, {plain(test.max_drop)} allowed"
    return tag("svg", *lines, class_="margin", viewBox=f"0 0 {MARGIN_WIDTH} 20", role="img", aria_label=label)
