"""report.html in a real browser: every plot is drawn, the filter filters, nothing hostile runs, nothing is loaded."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

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
    page = report(decision, directory)
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
    assert inside["pareto"].count('class="point"') == sum(c.cost is not None for c in decision.candidates)
    curves = re.findall(r'class="js-line" d="M[^"]{500,}"', inside["latencies"])  # the lines of the legend are short
    assert len(curves) == sum(bool(c.latencies_s) for c in decision.candidates)
    assert inside["roofline"].count('class="point"') == sum(op.flops > 0 for op in decision.profile.ops)  # type: ignore[union-attr]
    assert inside["time-by-kind"].count('class="point"') == 2 * len({op.kind for op in decision.profile.ops})  # type: ignore[union-attr]


def test_without_a_choice_the_other_plots_are_drawn(chromium: str, tmp_path: Path) -> None:
    dom = opened(chromium, written(tmp_path, decisions.nothing()), tmp_path / "profile")
    assert "plot-bill" not in dom
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


def test_nothing_is_wider_than_a_phone(chromium: str, tmp_path: Path) -> None:
    report(decisions.saves(), tmp_path)
    frame = tmp_path / "phone.html"
    frame.write_text(
        '<iframe id="phone" src="report.html" style="width:390px;height:900px;border:0"></iframe><p id="width"></p>'
        "<script>phone.onload = () => setTimeout(() => { const page = phone.contentDocument.documentElement;"
        "width.textContent = page.scrollWidth + ' of ' + page.clientWidth; }, 3000)</script>"
    )
    command = ["--allow-file-access-from-files", "--virtual-time-budget=20000", "--dump-dom", frame.as_uri()]
    flags = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run([*flags, *command], capture_output=True, timeout=120, check=True).stdout.decode()
    width = re.search(r'<p id="width">(\d+) of (\d+)</p>', dom)
    assert width is not None and width[1] == width[2]
