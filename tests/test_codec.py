"""What is written reads back equal, type for type, for every noun there is; digests are the same in every process."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from farthing import codec
from farthing.errors import StoreError
from farthing.types import Deployment, Floor, House, MemberRef, Pipeline, Slo

NOUNS = {name: noun for name, noun in vars(sys.modules["farthing.types"]).items() if dataclasses.is_dataclass(noun)}


def sample(hint: Any) -> Any:
    """Some value of this type, chosen to be awkward."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    simple = {
        float: -0.1,
        int: 2**60,
        str: 'ä"\n$',
        bool: True,
        Path: Path("/a/b c"),
        Any: [1, (2.5, None)],
        object: b"\x00\xff",
        House: None,  # what lives while a method is applied, and is never recorded
    }
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return hint(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(hint)})
    if origin in (types.UnionType, typing.Union):
        return sample(arguments[-1] if arguments[-1] is not type(None) else arguments[0])
    if origin is Literal:
        return arguments[0]
    if origin is np.ndarray:
        return np.array([[math.nan, -0.0], [math.inf, 1e-45]], dtype=np.float32)
    if origin is tuple:
        return tuple(map(sample, arguments[:1] * 2 if arguments[-1] is Ellipsis else arguments))
    if origin in (Mapping, dict):
        return {"key": sample(arguments[1]), "other": sample(arguments[1])}
    if origin is Sequence:
        return [sample(arguments[0])]
    return frozenset({"a", "b"}) if origin is frozenset else simple[hint]


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape
        assert left.tobytes() == right.tobytes() if left.dtype != object else left.tolist() == right.tolist()
    elif dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key, value in left.items():
            assert_same(value, right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right or (left != left and right != right)


def through_json(value: Any) -> Any:
    return codec.from_json(json.loads(json.dumps(codec.to_json(value), allow_nan=False)))


@pytest.mark.parametrize("name", sorted(NOUNS))
def test_every_noun_reads_back(name: str) -> None:
    value = sample(NOUNS[name])
    assert_same(through_json(value), value)


@pytest.mark.parametrize(
    "value",
    [
        (),
        [],
        ((1, [2]), [(3,)]),
        {"a": (1, 2), "b": [1, 2]},
        {1: "a", (2, "x"): None, False: 0.5},
        {"$": 1, "$list": 2},
        {frozenset({(1, 2)}): {3}},
        math.inf,
        -math.inf,
        math.nan,
        -0.0,
        1e-320,
        2**100,
        True,
        b"\x00\xff",
        Path("relative/x"),
        np.array(3.5),
        np.zeros((0, 3), dtype=np.int8),
        np.array([1 + 2j, math.nan]),
        np.array(["ä", "bcd"]),
        np.array([b"x", b"yz"]),
        np.array(["2026-01-01"], dtype="datetime64[D]"),
        np.array([["a", None], [(1, 2), 2.5]], dtype=object),
        np.arange(4, dtype=">i2"),
    ],
    ids=repr,
)
def test_plain_values_read_back(value: Any) -> None:
    assert_same(through_json(value), value)


def test_arrays_in_any_memory_order_read_back_and_are_writable() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for view in (np.asfortranarray(array), array.T, array[::-1, ::2]):
        again = through_json(view)
        np.testing.assert_array_equal(again, view)
        again += 1


def test_numpy_scalars_become_python_numbers() -> None:
    value = through_json((np.float32(0.1), np.int64(3), np.bool_(True), np.float64("nan"), np.str_("x")))
    assert [type(item) for item in value] == [float, int, bool, float, str]
    assert value[0] == np.float32(0.1) and math.isnan(value[3])


@pytest.mark.parametrize(
    "value", [lambda: 1, 1j, np.longdouble(1), np.zeros(2, dtype=[("a", int)]), np.ma.array([1], mask=[1])]
)
def test_what_cannot_be_read_back_is_refused_at_once(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be recorded"):
        codec.to_json({"deep": [value]})


def test_a_noun_of_the_same_name_from_elsewhere_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be recorded"):
        codec.to_json(dataclasses.make_dataclass("Floor", ["metric"])(metric="accuracy"))


@pytest.mark.parametrize(
    "value", [{"$": "Wish"}, {"$": "Slo", "latency_p42_s": 1.0}, {"$": "Floor"}, {"$tensor": 1}, {"$array": {"dtype": "<f4"}}]
)
def test_what_another_version_wrote_is_refused_naming_this_one(value: Any) -> None:
    with pytest.raises(StoreError, match=r"cannot be read by farthing \d.*Read it with the version that wrote it"):
        codec.from_json([1, {"deep": value}])


def test_nouns_are_readable_json() -> None:
    assert codec.to_json(Slo(latency_p99_s=0.01)) == {
        "$": "Slo",
        "latency_p50_s": None,
        "latency_p95_s": None,
        "latency_p99_s": 0.01,
    }


def test_paths_follow_a_folder_that_moves() -> None:
    pipeline = Pipeline(directory=Path("/old/run/build"), form="onnx", file="m", inputs=(), outputs=())
    data = codec.to_json((pipeline, Path("/other")), {"build": Path("/old/run/build"), "run": Path("/old/run")})
    again, other = codec.from_json(data, {"build": Path("/new"), "run": Path("/old/run")})
    assert again.directory == Path("/new") and other == Path("/other")


AWKWARD = (
    {"b": 1, "a": frozenset({"x", "y", "z", "w"}), 3: {"u", "v"}},
    Floor(metric="ä", max_drop=math.inf),
    np.arange(3.0),
    Path("/x"),
)


def test_digests_are_the_same_in_every_process() -> None:
    program = "from test_codec import AWKWARD, codec; print(codec.digest(AWKWARD))"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)}
        answer = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        assert answer.stdout.strip() == codec.digest(AWKWARD)


def test_digests_ignore_the_order_of_keys_and_nothing_else() -> None:
    assert codec.digest({"a": 1, "b": 2}) == codec.digest({"b": 2, "a": 1})
    assert codec.digest({1: 1, 2: 2}) == codec.digest({2: 2, 1: 1})
    build = MemberRef(name="int8", knobs=(("bits", 8),))
    values = [(1, 2), [1, 2], (2, 1), 1, 1.0, "1", True, np.zeros(2), np.zeros(2, dtype=np.float32), np.zeros((1, 2)), build]
    assert len({codec.digest(value) for value in values}) == len(values)


def test_tree_digests_see_every_byte_and_every_name(tmp_path: Path) -> None:
    def tree(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in files.items():
            path = folder / name.replace("_", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return codec.digest_tree(folder)

    assert tree(a="1", b_c="2") == tree(b_c="2", a="1")
    assert len({tree(a="1", b_c="2"), tree(a="1", b="2"), tree(a="2", b_c="1"), tree(a="1"), tree(a="12")}) == 5


def test_a_deployment_survives_as_a_key() -> None:
    deployment = sample(Deployment)
    assert through_json(deployment) == deployment
    assert codec.digest(through_json(deployment)) == codec.digest(deployment)
