"""Calibrated on texts, served, guarded, refused for another model: the semantic cache from the command line."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farthing.artifact import Artifact
from farthing.testing.artifacts import words

from .conftest import serving

TOPICS = ("pay", "book", "call", "stop", "sing", "cook")
FILLERS = tuple("".join(pair) for pair in itertools.product("bdfgklm", "aeiu"))
NUM_TEXTS = 400


def table(filler_weight: float, seed: int = 0) -> dict[str, np.ndarray]:
    """A topic has an axis of its own; what fills weighs little, in a model of classes nothing."""
    draw = np.random.default_rng(seed)
    rows = {topic: 5.0 * np.eye(len(TOPICS) + 4)[i] for i, topic in enumerate(TOPICS)}
    around = {word: np.r_[np.zeros(len(TOPICS)), draw.standard_normal(4)] for word in FILLERS}
    return rows | {word: filler_weight * vector for word, vector in around.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return words(tmp_path_factory.mktemp("model"), table(0.0), batch_size=8)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return words(tmp_path_factory.mktemp("embedder"), table(0.2), batch_size=8)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(3)
    rows = {f"{draw.choice(TOPICS)} {' '.join(draw.choice(FILLERS, 4))}": None for _ in range(NUM_TEXTS)}
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in rows))
    return path


def calibrate(model: Artifact, embedder: Artifact, texts: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "farthing.cli", "calibrate", str(model.directory), "--texts", str(texts)]
    given = ["--embedder", str(embedder.directory), "--budget", "0.05", "--max-entries", "50", *more]
    return subprocess.run([*command, *given], capture_output=True, text=True)


@pytest.fixture(scope="module")
def record(model: Artifact, embedder: Artifact, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("record") / "semantic.json"
    done = calibrate(model, embedder, texts, "--out", str(path))
    assert done.returncode == 0, done.stderr
    assert "at most" in done.stdout
    return path


def test_like_texts_are_answered_and_guarded_ones_are_not(model: Artifact, embedder: Artifact, record: Path) -> None:
    options = ["--cache", "memory", "--semantic", str(record), "--embedder", str(embedder.directory)]
    with serving(model.directory, *options) as server:
        first = server.predict("pay ba be")
        assert first[0] == 200
        assert server.predict("pay ba bi") == first
        assert server.predict("do not pay ba bi")[0] == 200
        told = server.ask("GET", "/v1/receipt")[1]
        assert told["num_from_cache"] == 1
        semantic = told["cache"]["semantic"]
        assert (semantic["hits"], semantic["misses"], semantic["is_on"]) == (1, 2, True)
        assert semantic["refused"] == {"a negation": 1}
        assert semantic["watch"].startswith("on:")
        page = server.ask("GET", "/metrics")[1].decode()
        assert "farthing_semantic_hits 1.0" in page
        assert "farthing_semantic_is_on 1.0" in page
        for pid in (server.process.pid, *server.replicas()):
            assert b"libtorch" not in Path(f"/proc/{pid}/maps").read_bytes()


def test_another_model_or_embedder_is_refused(model: Artifact, embedder: Artifact, record: Path, tmp_path: Path) -> None:
    def refused(served: Artifact, by: Artifact, file: Path) -> str:
        command = [sys.executable, "-m", "farthing.cli", "serve", str(served.directory), "--cache", "memory", "--port", "0"]
        given = ["--semantic", str(file), "--embedder", str(by.directory)]
        ended = subprocess.run([*command, *given], capture_output=True, text=True, timeout=60)
        assert ended.returncode == 2
        return ended.stderr

    assert "was calibrated with another model than" in refused(embedder, embedder, record)
    assert "was calibrated with another embedder than" in refused(model, model, record)
    (tmp_path / "torn.json").write_text(record.read_text()[:100])
    assert "is no file of `farthing calibrate`" in refused(model, embedder, tmp_path / "torn.json")


def test_cache_and_model_are_certified_together(model: Artifact, embedder: Artifact, texts: Path, tmp_path: Path) -> None:
    rows = [{"text": f"{topic} {a} {b}", "label": i} for i, topic in enumerate(TOPICS) for a, b in itertools.pairwise(FILLERS)]
    (tmp_path / "verify.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = calibrate(model, embedder, texts, "--verify", str(tmp_path / "verify.jsonl"), "--out", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    assert "cache and model together against the model alone: accuracy PASS" in done.stdout
    (certificate,) = json.loads((tmp_path / "out.json").read_text())["certificates"]
    assert certificate["num_texts"] == len(rows)
    assert certificate["num_hits"] > len(rows) / 2
    (tmp_path / "verify.jsonl").write_text(texts.read_text().splitlines()[0] + "\n")
    done = calibrate(model, embedder, texts, "--verify", str(tmp_path / "verify.jsonl"))
    assert "1 texts were calibrated on" in done.stderr
    done = calibrate(model, embedder, texts, "--original", str(model.directory))
    assert "--original: without effect" in done.stderr


def test_where_no_threshold_keeps_the_budget_nothing_is_written(embedder: Artifact, texts: Path, tmp_path: Path) -> None:
    """Here every filler changes the class, and an embedder of topics alone cannot see it."""
    by_filler = {word: np.eye(len(FILLERS))[i] * 2.0**i for i, word in enumerate(FILLERS)}
    model = words(tmp_path / "fine", {topic: np.zeros(len(FILLERS)) for topic in TOPICS} | by_filler)
    topics = words(tmp_path / "topics", table(0.0))
    done = calibrate(model, topics, texts, "--out", str(tmp_path / "out.json"))
    assert done.returncode == 3
    assert "No semantic cache here" in done.stdout
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [("[1]", 'line 1: expected "..." or'), ("{", "line 1: not JSON"), ('{"text": "a", "label": "b"}', "CLASS NUMBER")],
)
def test_texts_that_cannot_be_read(line: str, message: str, model: Artifact, embedder: Artifact, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(line + "\n")
    done = calibrate(model, embedder, tmp_path / "texts.jsonl")
    assert done.returncode == 2
    assert message in done.stderr
