"""Versions side by side in a real server: swapped under load, rolled back, promoted, and standing again after a kill."""

import hashlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farthing.artifact import Artifact
from farthing.errors import DataError, JobError
from farthing.serving import Options, state
from farthing.serving.plan import Plan
from farthing.testing.artifacts import TABLE, expected, lookup

from .conftest import Server, serving

IDS = np.random.default_rng(0).integers(0, 8, (64, 4))
QUICK = {"failed": 0.1, "slow": 0.5, "differs": 0.1, "cost": 0.9}  # a few hundred requests are enough to say "no worse"
KEY = "of the admin"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Another version that answers the same."""
    return lookup(tmp_path_factory.mktemp("twin"), name="twin", batch_size=8, batch_delay_s=0.005)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Another version that answers something else."""
    return lookup(tmp_path_factory.mktemp("other"), name="other", table=TABLE[::-1].copy(), batch_size=8, batch_delay_s=0.005)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Another version that fails on half of all ids."""
    return lookup(tmp_path_factory.mktemp("broken"), name="broken", table=TABLE[:6], batch_size=1)


class Managed:
    """A server with its admin routes."""

    def __init__(self, server: Server, admin_port: int) -> None:
        self.server, self.admin = server, Server(server.process, admin_port)

    def do(self, what: str, /, **asked: Any) -> tuple[int, Any]:
        return self.admin.ask("POST", f"/admin/{what}", asked or None, x_api_key=KEY)[:2]

    def facts(self) -> Any:
        return self.admin.ask("GET", "/admin/versions", x_api_key=KEY)[1]


@contextmanager
def managed(directory: Path, place: Path, *options: str) -> Iterator[Managed]:
    keys = place / "keys"
    keys.write_text(f"operator {hashlib.sha256(KEY.encode()).hexdigest()}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serving(directory, "--admin-port", str(port), "--admin-keys", str(keys), *options) as server:
        yield Managed(server, port)


class Load:
    """Threads that ask one item after another; every answer is counted by its status, and by whose it is."""

    def __init__(self, server: Server, threads: int = 4, pause_s: float = 0.005) -> None:
        self.port, self.pause_s = server.port, pause_s
        self.statuses: Counter[int] = Counter()
        self.refusals: list[str] = []
        self.by_key: dict[str, set[str]] = {}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seed: int) -> None:
        random, connection = np.random.default_rng(seed), http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._stop.is_set():
            i, key = int(random.integers(len(IDS))), f"person {random.integers(40)}"
            try:
                connection.request("POST", "/v1/predict", json.dumps(IDS[i].tolist()), {"X-Sticky-Key": key})
                response = connection.getresponse()
                told = json.loads(response.read())
            except (OSError, http.client.HTTPException):
                self.statuses[-1] += 1
                connection.close()
                continue
            self.statuses[response.status] += 1
            if response.status != 200:
                self.refusals.append(told["error"])
            if response.status == 200:
                own = np.allclose(told["answer"], expected(IDS[i : i + 1])[0], rtol=1e-4)
                self.by_key.setdefault(key, set()).add("own" if own else "other")
            time.sleep(self.pause_s)
        connection.close()


def test_twenty_updates_under_load_and_no_request_fails(artifact: Artifact, twin: Artifact, tmp_path: Path) -> None:
    with managed(artifact.directory, tmp_path) as manager, Load(manager.server) as load:
        for i in range(20):
            directory = (twin, artifact)[i % 2].directory
            manager.server.until(lambda directory=directory: _accepted(manager, directory))
        manager.server.until(lambda: len(manager.server.replicas()) == 1)  # the versions before are gone
        assert len([event for event in manager.facts()["history"] if "took the place" in event]) == 20
    assert set(load.statuses) == {200} and load.statuses[200] > 200, load.refusals[:3]


def _accepted(manager: Managed, directory: Path) -> bool:
    status, told = manager.do("rollout", artifact=str(directory), mode="now")
    assert status == 200 or "still being drained" in told["error"], told
    return status == 200


def test_a_canary_meets_the_same_people_and_is_rolled_back_for_its_answers(
    artifact: Artifact, other: Artifact, tmp_path: Path
) -> None:
    with managed(artifact.directory, tmp_path) as manager, Load(manager.server) as load:
        assert manager.do("rollout", artifact=str(other.directory), mode="canary", share=0.3, slow_ms=10_000)[0] == 200
        assert manager.do("rollout", artifact=str(other.directory), share=0.5)[0] == 409  # one at a time
        manager.server.until(lambda: manager.facts()["rollout"] is None, 60)
        (began, ended) = manager.facts()["history"]
        assert "canary of 30% of the requests" in began and "rolled back: differs: worse" in ended
    assert set(load.statuses) == {200}, load.refusals[:3]
    seen = Counter(len(answers) for answers in load.by_key.values())
    met = sum("other" in answers for answers in load.by_key.values())
    assert 3 <= met <= 25  # of 40 people; all met the stable version after the end
    assert seen[1] >= 15


def test_a_canary_that_fails_hurts_nobody(artifact: Artifact, broken: Artifact, tmp_path: Path) -> None:
    with managed(artifact.directory, tmp_path) as manager, Load(manager.server) as load:
        manager.do("rollout", artifact=str(broken.directory), share=0.5, slow_ms=10_000, margins={**QUICK, "differs": 0.9})
        manager.server.until(lambda: manager.facts()["rollout"] is None, 60)
        assert "rolled back: failed: worse" in manager.facts()["history"][-1]
    assert set(load.statuses) == {200}, load.refusals[:3]


def test_a_shadow_that_proves_no_worse_is_promoted(artifact: Artifact, twin: Artifact, tmp_path: Path) -> None:
    with managed(artifact.directory, tmp_path) as manager, Load(manager.server) as load:
        status, told = manager.do("rollout", artifact=str(twin.directory), mode="shadow", share=1.0, margins=QUICK)
        assert status == 200 and told["rollout"]["mode"] == "shadow"
        models = manager.server.ask("GET", "/v1/models")[1]["models"]
        assert len({model["version"] for model in models}) == 2
        candidate = f"/v2/models/lookup/versions/{told['rollout']['version']}/infer"
        asked = {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [1, 4], "data": IDS[0].tolist()}]}
        status, answered, _ = manager.server.ask("POST", candidate, asked)
        assert (status, answered["model_version"]) == (200, told["rollout"]["version"])
        manager.server.until(lambda: manager.facts()["rollout"] is None, 120)
        facts = manager.facts()
        assert facts["stable"]["version"] == told["rollout"]["version"] and "promoted: failed: no worse" in facts["history"][-1]
    assert set(load.statuses) == {200}, load.refusals[:3]


def test_what_was_decided_survives_kill_9(artifact: Artifact, twin: Artifact, other: Artifact, tmp_path: Path) -> None:
    kept = ("--state", str(tmp_path / "state.json"))
    with managed(artifact.directory, tmp_path, *kept) as manager:
        manager.do("rollout", artifact=str(twin.directory), share=0.5, automatic=False)
        assert manager.do("promote", reason="looks good")[0] == 200
        manager.server.until(lambda: manager.facts()["stable"]["artifact"] == str(twin.directory))
        status, began = manager.do("rollout", artifact=str(other.directory), share=0.5, automatic=False, slow_ms=1000)
        assert status == 200
        with Load(manager.server, pause_s=0.02):
            time.sleep(state_pause())
        seen = manager.facts()["rollout"]["evidence"]["candidate"]["requests"]
        manager.server.process.kill()
        manager.server.process.wait()
    with managed(artifact.directory, tmp_path, *kept) as manager:
        facts = manager.facts()
        assert facts["stable"]["artifact"] == str(twin.directory.resolve())
        assert facts["rollout"]["version"] == began["rollout"]["version"]
        assert 0 < facts["rollout"]["evidence"]["candidate"]["requests"] <= seen
        assert manager.do("rollback")[0] == 200
    with managed(other.directory, tmp_path, *kept) as manager:  # another version was named: that one is served
        assert manager.facts()["stable"]["artifact"] == str(other.directory)


def state_pause() -> float:
    from farthing.serving.standing import KEEP_EVERY_S

    return KEEP_EVERY_S + 1.5


def test_what_makes_no_sense_changes_nothing(artifact: Artifact, twin: Artifact, tmp_path: Path) -> None:
    spoiled = tmp_path / "spoiled"
    spoiled.mkdir()
    with managed(artifact.directory, tmp_path) as manager:
        assert manager.admin.ask("GET", "/admin/versions")[0] == 401
        assert manager.server.ask("GET", "/admin/versions")[0] == 404  # not on the address that all can reach
        for asked, status, why in (
            ({"artifact": str(spoiled)}, 400, "share"),
            ({"artifact": str(spoiled), "share": 0.1}, 400, "manifest"),
            ({"artifact": str(artifact.directory), "share": 0.1}, 409, "is served already"),
            ({"share": 0.1}, 409, "the folder of an artifact is needed"),
        ):
            told = manager.do("rollout", **asked)
            assert told[0] in (status, 409) and (why in told[1]["error"]), told
        assert manager.do("promote") == (409, {"error": "no rollout is under way"})
        assert manager.facts()["history"] == []


@pytest.mark.parametrize(
    "asked, why",
    [
        ({}, r"share = None: give the part of the requests"),
        ({"share": 1.0}, r"share = 1.0: give the part"),
        ({"share": "half"}, r"share = 'half' is not a number"),
        ({"mode": "later", "share": 0.1}, r"mode = 'later' is not one of canary, shadow, now"),
        ({"mode": "now", "share": 0.1}, r"share: without effect"),
        ({"share": 0.1, "automatic": False, "margins": {}}, r"margins: without effect where automatic is false"),
        ({"share": 0.1, "margins": {"errors": 0.1}}, r"an object with some of alpha, cost, differs, failed, slow"),
        ({"share": 0.1, "margins": {"cost": 2}}, r"cost = 2.0: a share between 0 and 1"),
        ({"share": 0.1, "slow_ms": 0}, r"slow_ms = 0 must be positive"),
        ({"share": 0.1, "sticky": True}, r"sticky: not known here"),
    ],
)
def test_a_plan_without_sense_is_refused(asked: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        Plan.asked(asked)


def test_a_plan_is_written_down_and_read_again() -> None:
    for asked in ({"mode": "now"}, {"mode": "shadow", "share": 1.0, "slow_ms": 20.0}, {"share": 0.1, "automatic": False}):
        assert Plan.asked(Plan.asked(asked).facts()) == Plan.asked(asked)


@pytest.mark.parametrize(
    "options, why",
    [
        ({"admin_port": 9000}, "admin_port and admin_keys go together"),
        ({"state": Path("state.json")}, "without effect, since no version can be changed"),
        ({"port": 80_800}, "port = 80800: expected 0"),
        ({"port": -1}, "port = -1: expected 0"),
        ({"admin_port": 70_000, "admin_keys": Path("keys")}, "admin_port = 70000: expected 0"),
    ],
)
def test_options_without_sense_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(JobError, match=why):
        Options(**options)


@pytest.mark.parametrize("spoil", [lambda text: text[:20], lambda text: text.replace('"format": 1', '"format": 9')])
def test_a_state_that_is_not_ours_is_refused(spoil: Callable[[str], str], tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    assert state.read(file) is None
    facts = {"format": 1, "given": "a", "stable": {"version": "a", "artifact": "x"}, "candidate": None, "plan": None}
    file.write_text(json.dumps(facts | {"evidence": None, "history": []}))
    assert state.read(file) is not None
    file.write_text(spoil(file.read_text()))
    with pytest.raises(DataError, match=r"move it away to begin anew|was written by another farthing"):
        state.read(file)
