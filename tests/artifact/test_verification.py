"""Verifying opens the artifact where torch cannot be imported, and notices when it no longer does what it did."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from farthing import codec, plugins
from farthing.artifact import Verdict, load, save, verify
from farthing.artifact import manifest as manifests
from farthing.conversions.base import Conversion
from farthing.errors import ArtifactError
from farthing.types import Context, Floor, MemberRef, Pipeline

Copied = Callable[..., Path]


def passed(verdict: Verdict) -> dict[str, bool | None]:
    return {check.name: check.passed for check in verdict.checks}


def resealed(directory: Path, **changes: object) -> Path:
    """The artifact as someone would forge it: its manifest says that all is well."""
    files = codec.digest_files(directory)
    manifest = manifests._unsealed(directory, (directory / manifests.FILE).read_bytes())
    del files[manifests.FILE]
    manifests.write(directory, replace(manifest, files=files, **changes))
    return directory


def with_weights(directory: Path, weights: object) -> Path:
    model = onnx.load(directory / "model.onnx")
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.asarray(weights, np.float32), "weights"))
    onnx.save(model, directory / "model.onnx")
    return directory


def test_an_untouched_artifact_passes(classifier, encoder) -> None:
    for case, metric in ((classifier, "accuracy"), (encoder, "spearman")):
        verdict = verify(case.artifact.directory)
        names = ["digests", "runs without torch", "answers", metric, "speed"]
        assert passed(verdict) == dict.fromkeys(names, True), verdict.checks
        assert verdict.passed


def test_openvino_runs_without_torch(classifier, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    conversion = plugins.load(Conversion, "onnx_to_openvino")()
    pipeline = conversion.convert(classifier.pipeline, tmp_path / "build", Context(calibration=()))
    assert passed(saved_and_verified(pipeline, classifier, tmp_path / "artifact"))["runs without torch"]


def test_scikit_learn_runs_without_torch(classifier, tmp_path: Path) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    pytest.importorskip("skops")
    from farthing.forms import sklearn_form

    items = classifier.sample.items
    (tmp_path / "build").mkdir()
    model = linear_model.LogisticRegression().fit(items.columns[0], items.labels)
    verdict = saved_and_verified(sklearn_form.snapshot(model, tmp_path / "build"), classifier, tmp_path / "artifact")
    assert passed(verdict)["runs without torch"]


def saved_and_verified(pipeline: Pipeline, case: Any, directory: Path) -> Verdict:
    chosen = case.decision.chosen
    build = replace(chosen.deployment.build, runtime=MemberRef(name=pipeline.form))
    decision = replace(case.decision, chosen=replace(chosen, deployment=replace(chosen.deployment, build=build)))
    save(pipeline, directory, decision=decision, original_digest="e" * 64, carried=case.sample)
    verdict = verify(directory)
    assert verdict.passed and not any(name.startswith("torch") for name in load(directory).manifest.versions), verdict.checks
    return verdict


def test_a_changed_byte_is_refused_before_anything_is_opened(
    classifier, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = with_weights(copied(classifier), np.zeros((4, 3)))
    monkeypatch.setattr("subprocess.run", None)
    with pytest.raises(ArtifactError, match=r"model\.onnx was changed"):
        verify(directory)


def test_another_model_under_a_forged_manifest_fails_by_its_answers(classifier, copied: Copied) -> None:
    weights = numpy_helper.to_array(onnx.load(classifier.pipeline.path).graph.initializer[0])
    verdict = verify(resealed(with_weights(copied(classifier), -weights)))
    assert not verdict.passed
    assert passed(verdict) == {"digests": True, "runs without torch": True, "answers": False, "accuracy": False, "speed": True}


def test_answers_that_differ_without_harm_fail_only_where_they_must_not_differ(classifier, copied: Copied) -> None:
    weights = numpy_helper.to_array(onnx.load(classifier.pipeline.path).graph.initializer[0])
    directory = resealed(with_weights(copied(classifier), 1.01 * weights))
    assert passed(verify(directory)) | {"speed": True} == {
        "digests": True,
        "runs without torch": True,
        "answers": False,
        "accuracy": True,
        "speed": True,
    }
    elsewhere = verify(resealed(directory, machine="another machine, 64 cores"))
    assert passed(elsewhere)["answers"] is None and passed(elsewhere)["speed"] is None and elsewhere.passed
    assert "saved on another machine, 64 cores" in elsewhere.checks[-1].detail


def test_a_model_that_does_not_open_is_a_failed_check_with_its_reason(classifier, copied: Copied) -> None:
    directory = copied(classifier)
    (directory / "model.onnx").write_bytes(b"garbage")
    verdict = verify(resealed(directory))
    assert passed(verdict) == {"digests": True, "runs without torch": False}
    assert f"the model in {directory} does not run in a clean process without torch: " in verdict.checks[1].detail


def test_a_runtime_that_wants_torch_is_found_out(classifier, copied: Copied) -> None:
    """The manifest claims that torch is not needed; torch_eager does need it, and torch is installed here."""
    directory = copied(classifier)
    deployment = load(directory).manifest.deployment
    build = replace(deployment.build, runtime=replace(deployment.build.runtime, name="torch_eager"))
    verdict = verify(resealed(directory, deployment=replace(deployment, build=build), needs_torch=False))
    assert passed(verdict) == {"digests": True, "runs without torch": False}
    assert "torch is not installed" in verdict.checks[1].detail


def test_a_much_slower_artifact_fails(classifier, copied: Copied) -> None:
    directory = copied(classifier)
    speed = load(directory).manifest.speed
    verdict = verify(resealed(directory, speed=replace(speed, value=1e-12, low=1e-12, high=1e-12)))
    assert passed(verdict)["speed"] is False and not verdict.passed


def test_other_versions_are_named(classifier, copied: Copied) -> None:
    directory = copied(classifier)
    versions = dict(load(directory).manifest.versions) | {"onnxruntime": "0.1"}
    check = verify(resealed(directory, versions=versions)).checks[1]
    assert check.passed and "(saved with 0.1)" in check.detail


def test_a_metric_that_is_the_persons_own_code_is_reported_where_it_is_not_installed(classifier, copied: Copied) -> None:
    directory = resealed(copied(classifier), floors=(Floor(metric="their_module:score", max_drop=0.1),))
    verdict = verify(directory)
    assert passed(verdict)["their_module:score"] is None and verdict.passed
    assert "no module 'their_module'" in verdict.checks[3].detail
