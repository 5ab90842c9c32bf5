"""Predicting gives each line its own answer, in order, and refuses a bad line before anything is run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from farthing.artifact import Artifact, predict, request
from farthing.errors import ArtifactError, DataError
from farthing.testing import artifacts


def requests(path: Path, *lines: str) -> Path:
    path = path / "requests.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_texts_of_all_lengths_get_their_own_answers_in_order(encoder, tmp_path: Path) -> None:
    texts = [text for column in encoder.sample.items.columns for text in column] * 3
    lines = [json.dumps(text if i % 2 else {"text": text}) for i, text in enumerate(texts)]
    answers = list(predict(encoder.artifact.directory, requests(tmp_path, *lines)))
    assert len(answers) == len(texts) == 240
    alone = {text: next(predict(encoder.artifact.directory, requests(tmp_path, json.dumps(text)))) for text in texts[:5]}
    for text, answer in zip(texts[:5], answers, strict=False):
        np.testing.assert_allclose(answer, alone[text], atol=1e-6)
    np.testing.assert_allclose(answers[:80], answers[80:160], atol=1e-6)


def test_numbers_are_one_input_or_named_so(classifier, tmp_path: Path) -> None:
    lines = ["[1, 0, 0, 0]", '{"inputs": [[1, 0, 0, 0]]}', "", "  ", "[0, 1, 0, 0.5]\r"]
    one, same, other = predict(classifier.artifact.directory, requests(tmp_path, *lines))
    np.testing.assert_array_equal(one, same)
    assert one.shape == (3,) and not np.allclose(one, other)


def test_no_requests_give_no_answers(classifier, tmp_path: Path) -> None:
    assert list(predict(classifier.artifact.directory, requests(tmp_path))) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2, 3, 4", "not JSON"),
        ("[1, 2, 3]", "'pixels' has shape 3, the model takes 4"),
        ("[[1, 2, 3, 4]]", "'pixels' has shape 1x4, the model takes 4"),
        ("7", "'pixels' has shape one number, the model takes 4"),
        ('["a", 2, 3, 4]', "takes float32"),
        ("[[1], 2, 3, 4]", "takes float32"),
        ("[NaN, 2, 3, 4]", "NaN or infinity"),
        ("[1e999, 2, 3, 4]", "NaN or infinity"),
        ('{"inputs": [[1, 2, 3, 4], 5]}', "of 1 values (pixels), not 2"),
        ('{"input": [1, 2, 3, 4]}', "takes float32"),
        ("null", "takes float32|has shape|NaN"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_run(
    classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.setattr("farthing.artifact.prediction.open_session", None)
    path = requests(tmp_path, "[1, 2, 3, 4]", "", line, "[1, 2, 3, 4]")
    with pytest.raises(DataError) as caught:
        predict(classifier.artifact.directory, path)
    assert f"{path}, line 3: " in str(caught.value)
    assert any(part in str(caught.value) for part in message.split("|"))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.5, 2, 3, 4], "takes int64 (4): 1.5 would become another number"),
        ([1, 2, 3, 2**63], "9.223372036854776e+18 would become another number"),
        ([1, 2, 3, 2**70], "too large"),
        (np.array([1, 2, np.nan, 4]), "nan would become another number"),
        (np.array([1, 2, 3, np.inf]), "inf would become another number"),
        (["1", "2", "3", "4"], "takes int64"),
    ],
)
def test_no_number_becomes_another_in_silence(lookup: Artifact, value: Any, message: str) -> None:
    """NumPy cuts 1.5 to 1, and wraps what is too large."""
    with pytest.raises(DataError) as caught:
        request(value, lookup.pipeline, "item 0")
    assert message in str(caught.value)


def test_whole_numbers_of_another_type_are_taken(lookup: Artifact) -> None:
    for same in ([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], np.array([1, 2, 3, 4], np.uint8), np.array([1, 2, 3, 4], np.float32)):
        (taken,) = request(same, lookup.pipeline, "item 0")
        assert taken.dtype == np.int64 and taken.tolist() == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return artifacts.lookup(tmp_path_factory.mktemp("lookup"))


@pytest.mark.parametrize("line", ["7", '["a"]', '{"text": 7}', '{"text": "a", "label": 1}', '{"inputs": ["a", "b"]}'])
def test_what_is_no_text_is_refused_by_an_encoder(encoder, tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match=r'line 1: expected a text, "\.\.\." or'):
        predict(encoder.artifact.directory, requests(tmp_path, line))


def test_half_a_surrogate_pair_is_refused_by_an_encoder(encoder, tmp_path: Path) -> None:
    """JSON can say it, and no tokenizer takes it."""
    with pytest.raises(DataError, match=r"line 1: no Unicode text: .*'\\ud800'"):
        predict(encoder.artifact.directory, requests(tmp_path, r'"a\ud800"'))
    (whole,) = predict(encoder.artifact.directory, requests(tmp_path, r'"a\ud83d\ude00"'))
    assert np.isfinite(whole).all()


def test_unreadable_requests_and_artifacts_are_refused(classifier, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl cannot be read"):
        predict(classifier.artifact.directory, tmp_path / "missing.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'"\xe4"')
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        predict(classifier.artifact.directory, tmp_path / "latin.jsonl")
    with pytest.raises(ArtifactError, match="is no artifact"):
        predict(tmp_path, tmp_path / "latin.jsonl")
