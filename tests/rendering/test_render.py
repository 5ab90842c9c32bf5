"""render(): from an artifact on disk to files, and what is refused."""

import subprocess
import sys

import pytest
import yaml as reader

from farthing.errors import ArtifactError, JobError, StoreError
from farthing.rendering import Place, render
from farthing.sizing import Load
from farthing.testing import small_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    return small_artifact.write(tmp_path_factory.mktemp("rendered"), batch_size=8).directory


def names(paths):
    return {path.name for path in paths}


def test_the_files_of_a_target_are_written(artifact, tmp_path):
    kubernetes = {"deployment.yaml", "service.yaml", "hpa.yaml", "pdb.yaml", "service-monitor.yaml"}
    assert names(render("kubernetes", artifact, tmp_path / "k8s")) == kubernetes
    assert names((tmp_path / "k8s").iterdir()) == kubernetes
    assert names(render("container", artifact, tmp_path / "image")) == {"Containerfile"}
    document = reader.safe_load((tmp_path / "k8s" / "deployment.yaml").read_text())
    assert document["metadata"]["name"] == "four-numbers"


def test_rendering_again_gives_the_same_bytes_and_takes_away_the_other_scaler(artifact, tmp_path):
    render("kubernetes", artifact, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    render("kubernetes", artifact, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    render("kubernetes", artifact, tmp_path, Place(scaler="keda", prometheus="http://prometheus:9090"))
    assert "scaled-object.yaml" in names(tmp_path.iterdir())
    assert "hpa.yaml" not in names(tmp_path.iterdir())


def test_nothing_of_this_machine_is_written(artifact, tmp_path):
    for target in ("kubernetes", "container"):
        for path in render(target, artifact, tmp_path):
            assert str(artifact) not in path.read_text()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"scaler": "hpa", "prometheus": "http://p:9090"}, "prometheus has no effect"),
        ({"scaler": "keda"}, "--prometheus"),
        ({"scaler": "keda", "prometheus": "prometheus:9090"}, "is no URL"),
        ({"scaler": "keda", "prometheus": "http://p:9090", "monitored": False}, "--no-monitor"),
        ({"scaler": "vpa"}, "'vpa' is none of hpa, keda, none"),
        ({"scaler": "none", "load": Load(peak_per_s=500.0)}, "a peak has no effect"),
        ({"namespace": "Models"}, "namespace = 'Models'"),
        ({"name": "a.b"}, "name = 'a.b'"),
        ({"image": "a b"}, "image = 'a b'"),
        ({"image": "a\nUSER 0"}, "is no image's name"),
        ({"drain_s": 0.0}, "drain_s = 0"),
        ({"drain_s": float("nan")}, "drain_s = nan"),
    ],
)
def test_what_cannot_be_or_has_no_effect_is_refused(artifact, tmp_path, place, says):
    with pytest.raises(JobError, match=says):
        render("kubernetes", artifact, tmp_path, Place(**place))
    assert not list(tmp_path.iterdir())


def test_an_unknown_target_names_those_that_there_are(artifact, tmp_path):
    with pytest.raises(JobError, match="container, kubernetes"):
        render("nomad", artifact, tmp_path)


def test_a_changed_artifact_is_not_rendered(artifact, tmp_path):
    import shutil

    copy = shutil.copytree(artifact, tmp_path / "copy")
    (copy / "model.onnx").write_bytes(b"other")
    with pytest.raises(ArtifactError, match="was changed"):
        render("container", copy, tmp_path / "out")


def test_a_folder_that_is_a_file_is_refused(artifact, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot be written"):
        render("container", artifact, tmp_path / "file")


def test_the_command_line(artifact, tmp_path):
    command = [sys.executable, "-m", "farthing.cli", "render", "kubernetes", str(artifact), "--out", str(tmp_path / "k8s")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "k8s" / "deployment.yaml") in done.stdout.splitlines()
    refused = subprocess.run([*command, "--prometheus", "http://p:9090"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "prometheus has no effect" in refused.stderr
