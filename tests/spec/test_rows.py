"""Columns that cannot carry the question are refused by name, row and next step."""

from pathlib import Path

import numpy as np
import pytest

from farthing.errors import DataError
from farthing.spec.rows import check_fit, rows_of
from farthing.spec.schema import DataTable
from farthing.types import Pipeline, TensorSpec

NAN = float("nan")
GOOD = {
    "text": ["a", "b", "c"],
    "x": np.array([1.0, 2.0, 3.0]),
    "y": np.array([3.0, 2.0, 1.0]),
    "nan": np.array([1.0, NAN, 3.0]),
    "image": np.zeros((3, 2, 2)),
    "dates": np.array(["2024", None, "2025"], dtype=object),
    "dirty": ["1", "n/a", "3"],
    "word": ["no", "yes", "no"],
    "same": [1.0, 1.0, 1.0],
}

BAD = [
    ({"input": "txt"}, "data has no column 'txt'; it has: text, .*Did you mean 'text'"),
    ({"input": "nan"}, "data, column 'nan': 1 of 3 rows hold NaN, infinity or nothing, row 2 first. Fill them in"),
    ({"input": "dates"}, "column 'dates' is neither texts nor numbers"),
    ({"input": ("text", "x"), "pair": True}, "column 'x' holds numbers; pair = true compares two columns of texts"),
    ({"features": ("x", "text")}, r"column 'text' is not one of numbers \(row 1 is 'a'\); features must be: encode it, mend"),
    ({"features": ("x", "dirty")}, r"column 'dirty' is not one of numbers \(row 2 is 'n/a'\)"),
    ({"features": "image"}, "column 'image' is not one of numbers"),
    ({"features": "pixel_*"}, "data has no column 'pixel_\\*'"),
    ({"input": "text", "label": "lable"}, "data has no column 'lable'"),
    ({"input": "text", "label": "nan"}, "column 'nan': 1 of 3 rows hold NaN"),
    ({"input": "text", "label": "same"}, "label 'same' is 1.0 in every row: with one class"),
    (
        {"input": "text", "label": "word", "classes": ("no", "yess")},
        "row 2 is 'yes', none of the 2 classes. Did you mean 'yess'",
    ),
    ({"input": "text", "group": "grup"}, "data has no column 'grup'"),
    ({"input": "text", "split": "part"}, "data has no column 'part'"),
]


@pytest.mark.parametrize(("table", "message"), BAD, ids=[message for _, message in BAD])
def test_bad(table: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of(GOOD, None, DataTable(**table), ())


def test_no_rows() -> None:
    with pytest.raises(DataError, match="data has no rows"):
        rows_of({"text": []}, None, DataTable(input="text"), ())
    with pytest.raises(DataError, match="data has no rows"):
        rows_of({"text": [], "y": []}, None, DataTable(input="text", label="y"), ())


def test_no_rows_of_numbers() -> None:
    with pytest.raises(DataError, match="data has no rows"):
        rows_of({"x": np.zeros(0), "y": np.zeros(0)}, None, DataTable(input="x", label="y"), ())


def test_of_many_columns_a_few_are_told() -> None:
    columns = {f"pixel_{i}": np.zeros(2) for i in range(64)} | {"digit": np.arange(2)}
    with pytest.raises(DataError, match=r"pixel_11 and 53 more\. Did you mean 'digit'\?$"):
        rows_of(columns, None, DataTable(input="pixel_0", label="digits"), ())


def test_a_slice_column_that_is_missing() -> None:
    with pytest.raises(DataError, match="data has no column 'countri'"):
        rows_of(GOOD, None, DataTable(input="text"), ("countri",))


def test_features_stand_side_by_side_in_the_order_of_the_table() -> None:
    columns = {"b": np.array([1.0]), "a": np.array([2.0]), "label": np.array([0.0]), "country": ["x"]}
    rows, _ = rows_of(columns, None, DataTable(features=("*",), label=None, group="label"), ("country",))
    assert rows.dataset.columns[0].tolist() == [[1.0, 2.0]]
    rows, _ = rows_of(columns, None, DataTable(features=("a", "b")), ())
    assert rows.dataset.columns[0].tolist() == [[2.0, 1.0]]


def test_labels() -> None:
    rows, _ = rows_of(GOOD, None, DataTable(input="text", label="y"), ())
    assert rows.dataset.labels.tolist() == [3.0, 2.0, 1.0]
    rows, _ = rows_of(GOOD, None, DataTable(input="text", label="word"), ())
    assert rows.dataset.labels.tolist() == [0, 1, 0]
    rows, _ = rows_of(GOOD, None, DataTable(input="text", label="word", classes=("yes", "no")), ())
    assert rows.dataset.labels.tolist() == [1, 0, 1]
    rows, _ = rows_of(GOOD, None, DataTable(input="text", label="y", classes=(1.0, 2.0, 3.0)), ())
    assert rows.dataset.labels.tolist() == [2, 1, 0]


def test_labels_of_two_tables_are_numbered_alike() -> None:
    rows, verify = rows_of(
        {"text": ["a", "b"], "y": ["cat", "dog"]},
        {"text": ["c", "d"], "y": ["dog", "ant"]},
        DataTable(input="text", label="y"),
        (),
    )
    assert rows.dataset.labels.tolist() == [1, 2]
    assert verify is not None and verify.dataset.labels.tolist() == [2, 0]


def test_the_verify_table_is_named_in_its_errors() -> None:
    with pytest.raises(DataError, match=r"data\.verify has no column 'text'"):
        rows_of(GOOD, {"x": GOOD["x"]}, DataTable(input="text"), ())


# ---------------------------------------------------------------- what the model reads

NUMBERS = TensorSpec(name="X", dtype="float32", shape=("batch", 2))
SCALAR = TensorSpec(name="x", dtype="float32", shape=("batch",))
IDS = TensorSpec(name="ids", dtype="int64", shape=("batch",))
WORDS = TensorSpec(name="X", dtype="str", shape=("batch",))
TOKENS = TensorSpec(name="input_ids", dtype="int64", shape=("batch", "length"))


def model(*inputs: TensorSpec) -> Pipeline:
    tokenizer = "tokenizer.json" if inputs == (TOKENS,) else None
    return Pipeline(directory=Path(), form="", file="", inputs=inputs, outputs=(), tokenizer=tokenizer)


UNFIT = [
    (
        {"input": "dirty"},
        (SCALAR,),
        r"column 'dirty' holds texts \(row 2 is 'n/a'\), and the model reads numbers \(float32\): enc",
    ),
    ({"input": "text"}, (NUMBERS,), r"column 'text' holds texts \(row 1 is 'a'\), and the model reads numbers"),
    ({"input": "x"}, (TOKENS,), "column 'x' holds numbers, and the model reads texts: name a column of texts"),
    ({"input": "x"}, (WORDS,), "column 'x' holds numbers, and the model reads texts"),
    (
        {"input": ("text", "word")},
        (TOKENS,),
        r"names 2 columns \(text, word\), and the model takes one text \(two texts .* pair = true",
    ),
    ({"input": ("x", "y")}, (NUMBERS,), r"names 2 columns \(x, y\), and the model takes 1: X: .* are named in features"),
    ({"input": "x"}, (SCALAR, IDS), r"names 1 columns \(x\), and the model takes 2: x, ids"),
    (
        {"input": "x"},
        (NUMBERS,),
        "column 'x' gives one number an item, and the model's input X takes 2: name them all in features",
    ),
    ({"features": ("x", "y", "whole")}, (NUMBERS,), "column 'x, y, whole' gives 3 an item, and the model's input X takes 2$"),
    ({"input": "image"}, (NUMBERS,), "column 'image' gives 2 x 2 an item, and the model's input X takes 2$"),
    ({"input": "half"}, (IDS,), "column 'half' holds fractions, and the model's input ids takes int64"),
]
MORE = GOOD | {"whole": np.array([1.0, 2.0, 3.0]), "half": np.array([1.0, 2.5, 3.0])}


@pytest.mark.parametrize(("table", "inputs", "message"), UNFIT, ids=[message for *_, message in UNFIT])
def test_columns_that_the_model_cannot_read(table: dict, inputs: tuple[TensorSpec, ...], message: str) -> None:
    rows, _ = rows_of(MORE, None, DataTable(**table), ())
    with pytest.raises(DataError, match=message):
        check_fit(rows.dataset, model(*inputs))


@pytest.mark.parametrize(
    ("table", "inputs"),
    [
        ({"input": "text"}, (TOKENS,)),
        ({"input": ("text", "word"), "pair": True}, (TOKENS,)),
        ({"input": "text"}, (WORDS,)),
        ({"features": ("x", "y")}, (NUMBERS,)),
        ({"input": ("x", "whole")}, (SCALAR, IDS)),
    ],
)
def test_columns_that_the_model_reads(table: dict, inputs: tuple[TensorSpec, ...]) -> None:
    rows, _ = rows_of(MORE, None, DataTable(**table), ())
    check_fit(rows.dataset, model(*inputs))


@pytest.mark.parametrize(
    ("data", "verify", "message"),
    [
        (
            np.ones(3),
            ["1", "n/a"],
            r"column 'x' holds texts in data\.verify \(row 2 is 'n/a'\), and numbers in the other table",
        ),
        (["a", "b"], np.ones(3), r"column 'x' holds texts in data \(row 1 is 'a'\), and numbers in the other"),
        (np.ones((3, 2)), np.ones((3, 4)), r"column 'x' gives 2 an item in data, and 4 in data\.verify"),
    ],
)
def test_two_tables_of_unlike_columns(data: object, verify: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rows_of({"x": data}, {"x": verify}, DataTable(input="x"), ())
