"""report.html in a real browser: every plot is drawn, the filter filters, nothing hostile runs, nothing is loaded."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from farthing.drawing import draw
from farthing.reporting import report
from farthing.results import Decision
from farthing.testing import decisions

pytestmark = pytest.mark.browser

PLOTS = ("bill", "pareto", "latencies", "time-by-kind", "roofline")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and os.environ.get("FARTHING_REQUIRE_BROWSER") == "1":
        pytest.fail("FARTHING_REQUIRE_BROWSER=1, but there is no Chromium. Run: apt-get install chromium")
    if found is None:
        pytest.skip("there is no Chromium here. Run: apt-get install chromium")
    return found


def opened(chromium: str, page: Path, profile: Path) -> str:
    """The document after its scripts have run."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, timeout=120, check=True).stdout.decode()


def drawn(dom: str, plot: str) -> str:
    """What is inside the plot's element, up to the next one's."""
    after = dom.partition(f'id="plot-{plot}"')[2]
    return re.split(r'id="plot-|<section', after, maxsplit=1)[0]


def written(directory: Path, decision: Decision, script: str = "") -> Path:
    """The report; `script` is put into it with its policy taken away, to act as a person would."""
    page = report(decision, draw(decision), directory)
    if script:
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return page


def test_every_plot_is_drawn_with_its_marks(chromium: str, tmp_path: Path) -> None:
    decision = decisions.saves()
    dom = opened(chromium, written(tmp_path, decision), tmp_path / "profile")
    inside = {plot: drawn(dom, plot) for plot in PLOTS}
    for plot, svg in inside.items():
        assert svg.count('class="main-svg"') >= 2, plot  # plotly draws data and hover layers apart
    num_bars = 3 + sum(bar.measured for bar in decision.waterfall)  # before, interaction, after
    assert inside["bill"].count('class="point"') == num_bars
    assert inside["bill"].count('class="ytick"') == num_bars  # each bar has its name
    assert inside["pareto"].count('class="point"') == sum(c.cost is not None for c in decision.candidates)
    curves = re.findall(r'class="js-line" d="M[^"]{500,}"', inside["latencies"])  # the lines of the legend are short
    assert len(curves) == sum(bool(c.latencies_s) for c in decision.candidates)
    assert inside["roofline"].count('class="point"') == sum(op.flops > 0 for op in decision.profile.ops)  # type: ignore[union-attr]
    assert inside["time-by-kind"].count('class="ytick"') == len({op.kind for op in decision.profile.ops})  # type: ignore[union-attr]
    assert inside["time-by-kind"].count('class="point"') == 2 * len({op.kind for op in decision.profile.ops})  # type: ignore[union-attr]


def test_without_a_choice_the_other_plots_are_drawn(chromium: str, tmp_path: Path) -> None:
    dom = opened(chromium, written(tmp_path, decisions.nothing()), tmp_path / "profile")
    assert 'id="plot-bill"' not in dom
    for plot in PLOTS[1:]:
        assert drawn(dom, plot).count('class="main-svg"') >= 2, plot


def test_a_hostile_job_runs_nothing(chromium: str, tmp_path: Path) -> None:
    attack = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    hostile = replace(decisions.saves(), job_name=attack, summary=attack, notes=(attack,), environment={attack: attack})
    dom = opened(chromium, written(tmp_path, hostile), tmp_path / "profile")
    title = re.search(r"<title>(.*?)</title>", dom)
    assert title is not None and title[1].startswith("&lt;script&gt;")
    assert drawn(dom, "pareto").count('class="main-svg"') >= 2


def test_the_policy_stops_a_script_that_is_not_ours(chromium: str, tmp_path: Path) -> None:
    page = written(tmp_path, decisions.saves())
    injected = page.read_text(encoding="utf-8").replace("</body>", "<script>document.title='owned'</script></body>")
    page.write_text(injected, encoding="utf-8")
    assert "<title>owned" not in opened(chromium, page, tmp_path / "profile")


def test_the_rejected_can_be_searched(chromium: str, tmp_path: Path) -> None:
    typed = "filter.value = 'NaN answers'; filter.dispatchEvent(new Event('input'));"
    dom = opened(chromium, written(tmp_path, decisions.saves(), typed), tmp_path / "profile")
    rows = dom.partition('id="rejected-rows"')[2].partition("</tbody>")[0]
    assert rows.count("<tr") == len(decisions.saves().rejected)
    assert rows.count("<tr hidden") == len(decisions.saves().rejected) - 1
    assert ">1 shown<" in dom


PROBE = """
const told = { errors: [], cut: [], overlap: [] };
addEventListener("error", (event) => told.errors.push(event.message));
addEventListener("unhandledrejection", (event) => told.errors.push(String(event.reason)));
const beyond = (a, b) => a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
const touch = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
const ink = (element) => { const range = document.createRange(); range.selectNodeContents(element); return range; };
setTimeout(() => {
  for (const plot of document.querySelectorAll(".plot")) {
    const texts = [...plot.querySelectorAll("svg text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    const seen = texts.filter(([, box]) => box.width > 0);
    for (const [text, box] of seen) if (beyond(box, plot.getBoundingClientRect())) told.cut.push(`${plot.id}: ${text}`);
    const ticks = texts.filter((_, i) => plot.querySelectorAll("svg text")[i].closest(".xtick, .ytick"));
    ticks.forEach(([one, a], i) => ticks.slice(i + 1).forEach(([two, b]) => {
      if (touch(a, b)) told.overlap.push(`${plot.id}: ${one} and ${two}`);
    }));
  }
  for (const pair of document.querySelectorAll("dl > div, tr")) {
    const boxes = [...pair.children].flatMap((cell) => [...ink(cell).getClientRects()].map((box) => [cell, box]));
    for (const [one, a] of boxes) for (const [two, b] of boxes)
      if (one !== two && touch(a, b)) told.overlap.push(`${one.textContent} and ${two.textContent}`);
  }
  told.width = document.documentElement.scrollWidth;
  told.window = document.documentElement.clientWidth;
  document.documentElement.dataset.told = JSON.stringify(told);
}, 3000);
"""


def laid_out(chromium: str, directory: Path, decision: Decision, width: int) -> dict[str, Any]:
    """What a window of that width shows: errors, labels that are cut, texts that lie on each other, how wide the page is."""
    page = written(directory, decision)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    page.write_text(text.replace("<head>", f"<head><script>{PROBE}</script>", 1), encoding="utf-8")
    frame = directory / "window.html"
    frame.write_text(
        f'<iframe id="inner" src="report.html" style="width:{width}px;height:900px;border:0"></iframe><p id="told"></p>'
        "<script>inner.onload = () => setTimeout(() => {"
        "told.textContent = inner.contentDocument.documentElement.dataset.told; }, 6000)</script>"
    )
    command = ["--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom", frame.as_uri()]
    flags = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory / 'profile'}"]
    dom = subprocess.run([*flags, *command], capture_output=True, timeout=120, check=True).stdout.decode()
    found = re.search(r'<p id="told">(.+?)</p>', dom, re.DOTALL)
    assert found is not None, "the probe did not answer"
    return dict(json.loads(unescape(found[1])))


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_or_lies_on_another_or_is_wider_than_the_window(chromium: str, tmp_path: Path, width: int) -> None:
    decision = decisions.slices()
    assert decision.profile is not None
    layers = tuple((f"encoder.encoder.layer.{i}.intermediate.dense", 0.04) for i in range(5))
    decision = replace(decision, profile=replace(decision.profile, sensitivities=layers))
    told = laid_out(chromium, tmp_path, decision, width)
    assert told["errors"] == [] and told["cut"] == [] and told["overlap"] == []
    assert told["width"] == told["window"]


def test_what_is_folded_is_printed_and_nothing_is_lost_on_paper(chromium: str, tmp_path: Path) -> None:
    page = written(tmp_path, decisions.slices())
    paper = tmp_path / "report.pdf"
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--virtual-time-budget=10000",
    ]
    command = [chromium, *flags, f"--print-to-pdf={paper}", page.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    sheets = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    assert sheets >= 8  # with what is folded closed there are fewer
