"""Saving is all or nothing: a folder with everything in it, or none, and never over something else."""

import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from farthing import codec
from farthing import pipeline as pipelines
from farthing.artifact import load, sample, save, verify
from farthing.artifact.sample import Sample
from farthing.errors import ArtifactError, StoreError
from farthing.types import Dataset

ORIGINAL = "e" * 64


def test_saving_again_after_a_kill_gives_the_artifact_that_is_there(classifier) -> None:
    directory = classifier.artifact.directory
    before = codec.digest_tree(directory)
    again = save(
        classifier.pipeline, directory, decision=classifier.decision, original_digest=ORIGINAL, carried=classifier.sample
    )
    assert again == classifier.artifact and codec.digest_tree(directory) == before


def test_another_artifact_or_another_folder_is_not_overwritten(classifier, encoder, tmp_path: Path) -> None:
    directory = classifier.artifact.directory
    before = codec.digest_tree(directory)
    deployed_otherwise = replace(
        classifier.decision.chosen, deployment=replace(classifier.decision.chosen.deployment, threads=2)
    )
    others = [
        (encoder.pipeline, classifier.decision),
        (classifier.pipeline, replace(classifier.decision, job_digest="another")),
        (classifier.pipeline, replace(classifier.decision, chosen=deployed_otherwise)),
    ]
    for pipeline, decision in others:
        with pytest.raises(ArtifactError, match=r"already holds another artifact.*Choose another folder"):
            save(pipeline, directory, decision=decision, original_digest=ORIGINAL)
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(ArtifactError, match=r"in the way: .* is no artifact.*choose another folder"):
        save(classifier.pipeline, tmp_path, decision=classifier.decision, original_digest=ORIGINAL)
    assert codec.digest_tree(directory) == before and (tmp_path / "notes.txt").read_text() == "precious"


def test_the_build_is_left_as_it_was(classifier) -> None:
    assert sorted(codec.digest_files(classifier.pipeline.directory)) == ["model.onnx", "pipeline.json"]
    assert pipelines.read(classifier.pipeline.directory) == classifier.pipeline


def test_a_model_that_answers_nan_is_not_saved_and_nothing_is_left_behind(classifier, tmp_path: Path) -> None:
    broken = pipelines.derive(classifier.pipeline, tmp_path / "broken", form="onnx", file="model.onnx")
    model = onnx.load(classifier.pipeline.path)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 3), np.nan, np.float32), "weights"))
    onnx.save(model, broken.path)
    (tmp_path / ".artifact.unfinished").mkdir()  # of a save that was killed
    with pytest.raises(ArtifactError, match=r"does not run in a clean process without torch: its answers hold NaN"):
        save(broken, tmp_path / "artifact", decision=classifier.decision, original_digest=ORIGINAL, carried=classifier.sample)
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_a_full_disk_is_named_and_nothing_is_left_behind(classifier, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        with pytest.raises(StoreError, match=r"artifact cannot be written: File too large\. Free some space"):
            save(classifier.pipeline, tmp_path / "artifact", decision=classifier.decision, original_digest=ORIGINAL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_without_a_sample_quality_is_reported_as_not_judged(classifier, tmp_path: Path) -> None:
    artifact = save(classifier.pipeline, tmp_path / "artifact", decision=classifier.decision, original_digest=ORIGINAL)
    assert artifact.manifest.num_items == 0 and not (tmp_path / "artifact" / sample.FILE).exists()
    verdict = verify(tmp_path / "artifact")
    assert verdict.passed and {c.name: c.passed for c in verdict.checks}["quality"] is None


def test_a_pickled_model_is_loaded_only_when_trusted(tmp_path: Path, classifier) -> None:
    """The form torch: its runtime needs torch, which `verify` then allows."""
    torch = pytest.importorskip("torch")
    from farthing.forms import torch_form

    (tmp_path / "build").mkdir()
    linear = torch.nn.Linear(4, 3).eval()
    file = torch_form.save(linear, tmp_path / "build")
    pipeline = pipelines.write(
        replace(classifier.pipeline, directory=tmp_path / "build", form="torch", file=file, pickled=True)
    )
    chosen = classifier.decision.chosen
    build = replace(chosen.deployment.build, runtime=replace(chosen.deployment.build.runtime, name="torch_eager"))
    decision = replace(classifier.decision, chosen=replace(chosen, deployment=replace(chosen.deployment, build=build)))
    with torch.inference_mode():
        logits = linear(torch.from_numpy(classifier.sample.items.columns[0])).numpy()
    carried = Sample(items=classifier.sample.items, original=logits)
    artifact = save(pipeline, tmp_path / "artifact", decision=decision, original_digest=ORIGINAL, carried=carried)
    assert artifact.manifest.needs_torch and "torch" in artifact.manifest.versions
    with pytest.raises(ArtifactError, match=r"is a pickle, which is code.*--trust"):
        load(tmp_path / "artifact")
    with pytest.raises(ArtifactError, match="is a pickle"):
        verify(tmp_path / "artifact")
    verdict = verify(tmp_path / "artifact", trust=True)
    assert verdict.passed, verdict.checks


def test_the_carried_sample_is_bounded_in_items_and_in_bytes() -> None:
    def num_drawn(column: object) -> int:
        items = Dataset(columns=(column,))
        return len(sample.drawn(Sample(items=items, original=np.zeros(len(items)))).items)

    assert num_drawn(["text"] * 100) == 100
    assert num_drawn(["text"] * 1000) == sample.MOST_ITEMS
    assert num_drawn(np.zeros((40, 2**17))) == sample.MOST_BYTES // 2**20
    assert num_drawn(np.zeros((2, 2**22))) == 1
