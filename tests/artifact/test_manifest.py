"""No byte of an artifact can be changed, lost or added without being named; and its manifest says all that there is to say."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from farthing.artifact import load
from farthing.artifact import manifest as manifests
from farthing.errors import ArtifactError, FarthingError

Copied = Callable[..., Path]


def test_an_artifact_reads_back_as_it_was_saved(classifier, encoder) -> None:
    for case in (classifier, encoder):
        manifest = load(case.artifact.directory).manifest
        assert manifest == case.artifact.manifest
        assert manifest.deployment == case.decision.chosen.deployment
        assert manifest.certificates == case.decision.chosen.certificates
        assert (manifest.cost, manifest.baseline_cost) == (case.decision.chosen.cost, case.decision.baseline.cost)
        assert (manifest.job_digest, manifest.original_digest) == (case.decision.job_digest, "e" * 64)
        assert {"model.onnx", "pipeline.json", "sample.json"} <= set(manifest.files)
        assert {"onnxruntime", "numpy", "python", "farthing"} <= set(manifest.versions)
        assert "torch" not in manifest.versions and not manifest.needs_torch


def test_a_changed_byte_in_any_file_is_refused_naming_it(encoder, copied: Copied) -> None:
    directory = copied(encoder)
    files = sorted(path for path in directory.iterdir())
    assert len(files) == 5
    for path in files:
        data = path.read_bytes()
        for position in {0, len(data) // 3, len(data) - 2, len(data) - 1}:
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with pytest.raises(ArtifactError, match=f"{path.name} was changed"):
                load(directory)
        path.write_bytes(data)
    load(directory)


def test_every_byte_of_the_manifest_counts(classifier, copied: Copied) -> None:
    path = copied(classifier) / "manifest.json"
    data = path.read_bytes()
    for position in range(0, len(data)):
        with pytest.raises(ArtifactError, match=r"manifest\.json was changed"):
            manifests._unsealed(path.parent, data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])


def test_a_missing_or_extra_file_is_refused_naming_it(encoder, copied: Copied) -> None:
    directory = copied(encoder)
    (directory / "inner").mkdir()
    (directory / "inner" / "more.bin").write_text("x")
    with pytest.raises(ArtifactError, match=r"inner/more\.bin does not belong to the artifact"):
        load(directory)
    (directory / "inner" / "more.bin").unlink()
    (directory / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is missing"):
        load(directory)
    (directory / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="is no artifact"):
        load(directory)
    with pytest.raises(ArtifactError, match="is no artifact"):
        load(directory / "nowhere")


def test_another_format_is_refused_naming_the_version(classifier, copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = copied(classifier)
    monkeypatch.setattr(manifests, "FORMAT", 2)
    with pytest.raises(FarthingError, match=r"written by farthing \d.* in format 1; this version reads format 2"):
        load(directory)


def test_the_manifest_is_plain_json(classifier) -> None:
    data = json.loads((classifier.artifact.directory / "manifest.json").read_text())
    assert data["job_name"] == "minilm-sts" and data["deployment"]["batch_size"] == 8


def test_the_snippet_runs_as_it_stands_without_farthing(classifier, encoder) -> None:
    feeds = {
        "classifier": "feeds = {'pixels': numpy.ones((2, 4), numpy.float32)}",
        "encoder": "feeds = dict.fromkeys(('input_ids', 'attention_mask'), numpy.ones((2, 3), numpy.int64))",
    }
    for case in (classifier, encoder):
        directory = case.artifact.directory
        lines = json.loads((directory / "manifest.json").read_text())["snippet"]
        assert len(lines) <= 6
        program = [
            "import sys, numpy",
            "sys.modules['farthing'] = sys.modules['torch'] = None",
            feeds[directory.name],
            *lines,
            "print([o.shape for o in outputs])",
        ]
        done = subprocess.run([sys.executable, "-c", "\n".join(program)], cwd=directory, capture_output=True, text=True)
        assert done.stdout.strip() == ("[(2, 3)]" if case is classifier else "[(2, 5)]"), done.stderr


def test_labels_and_items_of_the_sample_are_those_of_the_evidence(classifier) -> None:
    from farthing.artifact import sample

    carried = sample.read(classifier.artifact.directory)
    assert len(carried.items) == sample.MOST_ITEMS == classifier.artifact.manifest.num_items
    pixels = carried.items.columns[0]
    positions = [int(np.flatnonzero((classifier.sample.items.columns[0] == row).all(axis=1))[0]) for row in pixels]
    assert positions == sorted(set(positions))
    np.testing.assert_array_equal(carried.original, classifier.sample.original[positions])
    np.testing.assert_array_equal(carried.items.labels, classifier.sample.items.labels[positions])
    np.testing.assert_allclose(carried.answers, carried.original, atol=1e-5)
