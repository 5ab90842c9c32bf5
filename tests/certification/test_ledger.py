"""The ledger: shares over all runs on an item stay below one, and survive death at any moment."""

import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farthing.certification import Ledger
from farthing.certification.ledger import MOST_RUNS, SPENT
from farthing.errors import DataError, StoreError

ITEMS = [f"{i:064x}"[::-1] for i in range(20)]  # differ in their first characters, as digests do


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.jsonl")


def test_each_run_on_the_same_items_gets_less(ledger: Ledger) -> None:
    shares = [ledger.spend(f"run{i}", ITEMS) for i in range(MOST_RUNS)]
    assert shares[0] == SPENT
    assert all(later < earlier for earlier, later in pairwise(shares))
    assert sum(shares) < 1
    with pytest.raises(DataError, match=f"{MOST_RUNS} runs have been certified.*Bring fresh data"):
        ledger.spend("one more", ITEMS)


def test_fresh_items_get_the_first_share_again(ledger: Ledger) -> None:
    assert ledger.spend("a", ITEMS[:10]) == ledger.spend("b", ITEMS[10:]) == SPENT
    assert ledger.spend("c", ITEMS[9:11]) == SPENT * (1 - SPENT)


def test_the_same_run_asks_again(ledger: Ledger) -> None:
    first = ledger.spend("a", ITEMS)
    ledger.spend("b", ITEMS)
    assert ledger.spend("a", ITEMS[::-1]) == first
    assert len(ledger.path.read_text().splitlines()) == 2
    with pytest.raises(DataError, match="with other items"):
        ledger.spend("a", ITEMS[:5])


def test_over_the_runs_of_any_item_the_shares_sum_below_one(ledger: Ledger) -> None:
    draw, spent = np.random.default_rng(0), Counter[str]()
    for run in range(60):
        items = list(draw.choice(ITEMS, size=draw.integers(1, 6), replace=False))
        try:
            share = ledger.spend(str(run), items)
        except DataError:
            continue
        spent.update(dict.fromkeys(items, share))  # type: ignore[arg-type]  # shares are counted, not times
    assert max(spent.values()) < 1
    assert len(spent) == len(ITEMS)


def test_a_torn_last_line_was_never_answered(ledger: Ledger) -> None:
    ledger.spend("a", ITEMS)
    whole = ledger.path.read_bytes()
    for cut in (1, 5, len(whole) // 2, len(whole) - 1):
        ledger.path.write_bytes(whole + whole.replace(b'"a"', b'"z"')[:cut])
        assert ledger.spend("b", ITEMS) == SPENT * (1 - SPENT)
        entries = [json.loads(line) for line in ledger.path.read_text().splitlines()]
        assert [entry["run"] for entry in entries] == ["a", "b"]


@pytest.mark.parametrize("line", [b"{}\n", b"not json\n", b'{"run":"x","share":"a lot","items":[]}\n'])
def test_a_damaged_line_is_an_error_not_a_gift(ledger: Ledger, line: bytes) -> None:
    ledger.spend("a", ITEMS)
    ledger.path.write_bytes(line + ledger.path.read_bytes())
    with pytest.raises(StoreError, match="line 1 of the ledger"):
        ledger.spend("b", ITEMS)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Ledger(tmp_path / "file" / "ledger.jsonl").spend("a", ITEMS)


def test_runs_that_ask_at_the_same_time_take_turns(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Ledger._share

    def slow(self: Ledger, *args: Any) -> float:
        time.sleep(0.05)
        return quick(self, *args)

    monkeypatch.setattr(Ledger, "_share", slow)
    with ThreadPoolExecutor(MOST_RUNS) as pool:
        shares = list(pool.map(lambda run: ledger.spend(run, ITEMS), [f"run{i}" for i in range(MOST_RUNS)]))
    assert sorted(shares, reverse=True) == [SPENT * (1 - SPENT) ** i for i in range(MOST_RUNS)]


SPEND_FOREVER = """
import sys
from pathlib import Path
from farthing.certification import Ledger
for run in range(1_000_000):
    Ledger(Path(sys.argv[1])).spend(str(run), [f"{run:016x}"])
    print(run, flush=True)
"""


def test_killed_at_any_moment_no_answer_is_forgotten(ledger: Ledger) -> None:
    """A process that spends without end is killed; whatever it had answered is in the ledger, and the ledger reads."""
    for attempt in range(6):
        ledger.path.unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", SPEND_FOREVER, ledger.path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.003 * attempt)
        process.kill()
        answered = process.communicate()[0].split("\n")[:-1]  # its own last line may be torn
        assert ledger.spend("after", ["fresh"]) == SPENT
        runs = [json.loads(line)["run"] for line in ledger.path.read_text().splitlines()]
        assert {"0", *answered} <= set(runs)
