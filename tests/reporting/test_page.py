"""report.html: whole, offline, escaped, honest about what was predicted."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from farthing.errors import StoreError
from farthing.reporting import report
from farthing.reporting.page import SECTIONS, html
from farthing.results import Decision
from farthing.testing import decisions
from farthing.types import MemberRef

VERDICTS = (decisions.saves, decisions.keep, decisions.nothing)
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """Elements, ids, addresses and visible text of a page."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html(decision))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.mark.parametrize("make", VERDICTS)
def test_every_section_is_there_and_nothing_is_loaded(make: Callable[[], Decision]) -> None:
    page = Page(make())
    assert {key for key, _, _ in SECTIONS} <= set(page.ids)
    assert page.addresses and all(address.startswith("#") for address in page.addresses)
    assert not {"link", "iframe", "img", "object"} & set(page.tags)


def test_only_its_own_two_scripts_may_run() -> None:
    text = html(decisions.saves())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1] and policy[1].count("'sha256-") == 2
    assert not re.search(r"script-src[^;]*unsafe", policy[1])
    assert not re.search(r"url\(\s*['\"]?https?:", text.partition("</style>")[0])


def test_the_numbers_of_the_header() -> None:
    text = Page(decisions.saves()).text
    for shown in ("80.1%", "79.2% to 80.9%", "$0.0314", "$0.158", "$4.13", "98,000 requests", "9.3 ms", "PASS", "2026-11-02"):
        assert shown in text, shown


def test_steps_that_could_not_be_left_out_say_why() -> None:
    assert "onnx_to_openvino has no bar: without it nothing runs" in Page(decisions.saves()).text


def test_every_rejected_candidate_stands_there_with_its_reason() -> None:
    decision = decisions.saves()
    text = Page(decision).text
    for candidate in decision.rejected:
        assert candidate.rejected is not None
        assert candidate.rejected.reason in text


@pytest.mark.parametrize("make", (decisions.keep, decisions.nothing))
def test_without_a_choice_the_nearest_and_what_to_relax_are_shown(make: Callable[[], Decision]) -> None:
    page = Page(make())
    assert "nearest" in page.ids
    assert "1,900 more items" in page.text
    assert make().relax[0] in page.text


def test_the_nearest_says_which_ceiling_it_misses() -> None:
    assert "p99 is 8.8 ms, 4 ms is allowed" in Page(decisions.nothing()).text


def test_predicted_figures_are_marked() -> None:
    decision = decisions.saves()
    measured_only = replace(decision, candidates=tuple(c for c in decision.candidates if c.latencies_s), front=(), rejected=())
    assert 'class="predicted"' in html(decision)
    assert 'class="predicted"' not in html(measured_only)


def test_text_of_the_job_never_becomes_markup() -> None:
    decision = decisions.saves()
    assert decision.chosen is not None
    build = replace(decision.chosen.deployment.build, runtime=MemberRef(name=ATTACK))
    chosen = replace(decision.chosen, deployment=replace(decision.chosen.deployment, build=build))
    hostile = replace(
        decision,
        job_name=ATTACK,
        summary=ATTACK,
        chosen=chosen,
        candidates=(chosen, *decision.candidates[1:]),
        waterfall=(replace(decision.waterfall[0], step=ATTACK), replace(decision.waterfall[-1], note=ATTACK)),
        notes=(ATTACK,),
        environment={ATTACK: ATTACK},
        relax=(ATTACK,),
    )
    harmless = Page(decision)
    page = Page(hostile)
    assert page.tags.count("script") == harmless.tags.count("script")
    assert "img" not in page.tags
    assert page.text.count(ATTACK) >= 6
    assert "<script>alert" not in html(hostile)


def test_a_text_that_a_template_would_read_is_left_alone() -> None:
    assert "costs $style and ${body}" in Page(replace(decisions.saves(), notes=("costs $style and ${body}",))).text


def test_both_files_are_written_whole(tmp_path: Path) -> None:
    page = report(decisions.saves(), tmp_path / "run")
    assert sorted(file.name for file in page.parent.iterdir()) == ["decision.json", "report.html"]
    assert page.read_text(encoding="utf-8") == html(decisions.saves())


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file.*cannot be written"):
        report(decisions.saves(), tmp_path / "file")


def test_ranges_say_where_the_choice_holds() -> None:
    text = Page(decisions.saves()).text
    assert "while the rate in requests per second is at least 3.1." in text
    assert "while the price of a GiB-hour over that of a vCPU-hour is at most 1.9." in text
    anywhere = replace(decisions.saves(), cheapest_rates_per_s=(0.0, math.inf), cheapest_price_ratios=(0.5, 2.0))
    assert "whatever the rate in requests per second." in Page(anywhere).text
    assert "is between 0.5 and 2." in Page(anywhere).text
