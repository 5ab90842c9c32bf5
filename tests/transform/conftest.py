"""Made-up forms, conversions, methods and runtimes: these tests hold whatever members there are. A model is a matrix."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from farthing import pipeline as pipelines
from farthing import plugins
from farthing.conversions.base import Conversion
from farthing.methods.base import Method
from farthing.results import Profile
from farthing.runtimes.base import Runtime, Session
from farthing.types import Array, Context, Feeds, Pipeline, TensorSpec

FLOAT = frozenset({"float_weights"})
WIDTH = 3


class Edge(Conversion):
    stops = frozenset({"half", "int8"})

    runs: ClassVar[list[str]] = []  # names of the conversions that were really run

    def convert(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        self.runs.append(f"{self.source}_to_{self.target}")
        directory.mkdir()
        shutil.copy(source.path, directory)
        return pipelines.derive(source, directory, form=self.target, file=source.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeToRaw(Edge):
    source, target = "tree", "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawToGraph(Edge):
    source, target = "raw", "graph"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawToCode(Edge):
    source, target = "raw", "code"
    stops = frozenset({"int8"})


class Scaling(Method):
    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        directory.mkdir(exist_ok=True)
        np.save(directory / "model.npy", np.load(source.path) * 0.5)
        traits = source.traits - self.drops | self.adds
        return pipelines.derive(source, directory, form=source.form, file="model.npy", traits=traits)

    @classmethod
    def propose(cls, profile: Profile) -> str:
        return "never"

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Half(Scaling):
    consumes = frozenset({"raw", "graph"})
    adds = frozenset({"half"})
    drops = FLOAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrink(Scaling):
    by: int = 2

    consumes = frozenset({"graph"})
    needs = FLOAT
    adds = frozenset({"int8"})
    drops = FLOAT


class Product(Runtime):
    def open(self, pipeline: Pipeline, *, threads: int, streams: int, device_kind: str = "cpu") -> Session:
        return Multiplied(np.load(pipeline.path))

    def snippet(self, pipeline: Pipeline) -> str:
        return ""

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0


class Multiplied:
    def __init__(self, weight: Array) -> None:
        self.weight = weight

    def run(self, feeds: Feeds) -> list[Array]:
        return [feeds["x"] @ self.weight]

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter(Product):
    accepts = frozenset({"raw", "torch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine(Product):
    accepts = frozenset({"graph"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor(Product):
    accepts = frozenset({"code"})


MEMBERS: dict[type, dict[str, Any]] = {
    Conversion: {"tree_to_raw": TreeToRaw, "raw_to_graph": RawToGraph, "raw_to_code": RawToCode},
    Method: {"half": Half, "shrink": Shrink},
    Runtime: {"interpreter": Interpreter, "engine": Engine, "processor": Processor},
}


@pytest.fixture(autouse=True)
def members(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(plugins, "names", lambda kind: tuple(sorted(MEMBERS[kind])))
    monkeypatch.setattr(plugins, "load", lambda kind, name: MEMBERS[kind][name])
    Edge.runs.clear()
    yield


@pytest.fixture
def original(tmp_path: Path) -> Pipeline:
    """The identity, in form `raw`."""
    directory = tmp_path / "original"
    directory.mkdir()
    np.save(directory / "model.npy", np.eye(WIDTH, dtype=np.float32))
    return pipelines.write(described(directory, "raw", "model.npy"))


@pytest.fixture
def context() -> Context:
    return Context(calibration=tuple({"x": np.full((1, WIDTH), value, np.float32)} for value in (1.0, -1.0)))


def described(directory: Path, form: str, file: str) -> Pipeline:
    specs = (TensorSpec(name=name, dtype="float32", shape=("batch", WIDTH)) for name in ("x", "y"))
    x, y = specs
    return Pipeline(directory=directory, form=form, file=file, inputs=(x,), outputs=(y,), traits=FLOAT)
