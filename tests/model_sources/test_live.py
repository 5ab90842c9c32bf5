"""Objects of the calling process: opened only when their digest is the one that was taken."""

import hashlib
from pathlib import Path

import cloudpickle

from farthing.model_sources.live import Live
from farthing.testing import samples
from farthing.testing.model_sources import check_refuses, check_snapshot


def stored(directory: Path, payload: object) -> Live:
    path = directory / "live.pkl"
    path.write_bytes(cloudpickle.dumps(payload))
    return Live(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def sample(directory: Path) -> Live:
    return stored(directory, samples.cnn())


def test_estimators(tmp_path: Path) -> None:
    pipeline = check_snapshot(stored(tmp_path, samples.estimator("forest")), tmp_path / "snapshots", vanish=lambda: None)
    assert (pipeline.form, pipeline.outputs[0].name) == ("sklearn", "probabilities")


class Bomb:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return Path.touch, (self.path,)


def test_a_changed_file_is_not_opened(tmp_path: Path) -> None:
    source = stored(tmp_path, samples.mlp())
    source.path.write_bytes(cloudpickle.dumps(Bomb(tmp_path / "bang")))
    check_refuses(source, tmp_path / "model", "was changed", source.sha256, "was not opened")
    assert not (tmp_path / "bang").exists()


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    check_refuses(Live(path=tmp_path / "gone.pkl", sha256=""), tmp_path / "model", "gone.pkl", "No such file")
