"""Encoders, heads, what sentence-transformers wrote down, and folders that cannot be read or trusted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from farthing.errors import ModelError
from farthing.forms import torch_form
from farthing.model_sources import huggingface
from farthing.model_sources.huggingface import HuggingFace
from farthing.testing.model_sources import check_refuses, check_runs_as_described, feeds_for, native_session
from farthing.testing.samples import encoder_folder
from farthing.types import Feeds, Pipeline


def sample(directory: Path) -> HuggingFace:
    return HuggingFace(path=str(encoder_folder(directory)))


def snapshot(source: HuggingFace, directory: Path) -> Pipeline:
    directory.mkdir()
    return source.snapshot(directory, trust=False)


def hidden_states(folder: Path, feeds: Feeds) -> np.ndarray:
    import transformers

    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(folder)
        return model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).last_hidden_state.numpy()


def sentence_settings(folder: Path, pooling: dict[str, object], *kinds: str) -> None:
    """The files that sentence-transformers keeps beside the weights."""
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules += [{"type": f"sentence_transformers.models.{kind}", "path": f"1_{kind}"} for kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_pooling_sees_only_tokens_of_the_text(pooling: str, tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    pipeline = snapshot(HuggingFace(path=str(folder), pooling=pooling, normalize=False), tmp_path / "model")
    feeds = feeds_for(pipeline)
    assert not feeds["attention_mask"].all(), "no row is padded: the mask would not matter"
    hidden_BLD, mask_BL = hidden_states(folder, feeds), feeds["attention_mask"].astype(bool)
    rows = zip(hidden_BLD, mask_BL, strict=True)
    pooled = {"mean": lambda h_LD: h_LD.mean(0), "cls": lambda h_LD: h_LD[0], "max": lambda h_LD: h_LD.max(0)}[pooling]
    expected = np.stack([pooled(hidden_LD[mask_L]) for hidden_LD, mask_L in rows])
    np.testing.assert_allclose(native_session(pipeline).run(feeds)[0], expected, atol=1e-6)


def test_settings_beside_the_weights_are_read(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    sentence_settings(folder, {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}, "Pooling", "Normalize")
    pipeline = snapshot(HuggingFace(path=str(folder)), tmp_path / "model")
    module = torch_form.load(pipeline)
    assert (module.pooling, module.normalize, pipeline.max_length) == ("cls", True, 24)
    vectors = native_session(pipeline).run(feeds_for(pipeline))[0]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_keys_overrule_the_settings(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    sentence_settings(folder, {"pooling_mode": "mean"}, "Pooling", "Normalize")
    pipeline = snapshot(HuggingFace(path=str(folder), pooling="max", normalize=False, max_length=9), tmp_path / "model")
    module = torch_form.load(pipeline)
    assert (module.pooling, module.normalize, pipeline.max_length) == ("max", False, 9)


def test_unknown_settings_are_named(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    sentence_settings(folder, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "Pooling")
    check_refuses(HuggingFace(path=str(folder)), tmp_path / "one", "mean_tokens + max_tokens", "set pooling")
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]))
    check_refuses(HuggingFace(path=str(folder)), tmp_path / "two", "Dense", "source = 'python'")


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ("BertForSequenceClassification", ("batch", 3)),
        ("BertForTokenClassification", ("batch", "length", 3)),
        ("BertForMaskedLM", ("batch", "length", 20)),
    ],
)
def test_the_task_is_that_of_the_weights(head: str, shape: tuple[object, ...], tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source", head, **({} if head.endswith("LM") else {"num_labels": 3}))
    pipeline = snapshot(HuggingFace(path=str(folder)), tmp_path / "model")
    assert pipeline.outputs[0].shape == shape
    check_runs_as_described(pipeline)


def test_hidden_states(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    pipeline = snapshot(HuggingFace(path=str(folder), task="hidden"), tmp_path / "model")
    feeds = feeds_for(pipeline)
    np.testing.assert_allclose(native_session(pipeline).run(feeds)[0], hidden_states(folder, feeds), atol=1e-6)


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    source = HuggingFace(path=str(folder), task="classification")
    check_refuses(source, tmp_path / "model", "no weights for classifier.bias, classifier.weight", "task = 'classification'")


def test_keys_without_effect_are_refused(tmp_path: Path) -> None:
    source = HuggingFace(path=str(encoder_folder(tmp_path / "source")), task="hidden", pooling="max")
    check_refuses(source, tmp_path / "model", "no effect on task = 'hidden'")


def test_lengths_beyond_the_position_table_are_refused(tmp_path: Path) -> None:
    source = HuggingFace(path=str(encoder_folder(tmp_path / "source")), max_length=65)
    check_refuses(source, tmp_path / "model", "max_length = 65")


def test_pickled_weights_need_trust(tmp_path: Path) -> None:
    import safetensors.torch

    folder = encoder_folder(tmp_path / "source")
    torch.save(safetensors.torch.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    source = HuggingFace(path=str(folder))
    check_refuses(source, tmp_path / "untrusted", "safetensors", "trust = true")
    (tmp_path / "trusted").mkdir()
    check_runs_as_described(source.snapshot(tmp_path / "trusted", trust=True))


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('this code was run')")
    check_refuses(HuggingFace(path=str(folder)), tmp_path / "model", "never run", "source = 'python'", trust=True)


def test_unreadable_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_refuses(HuggingFace(path=str(tmp_path / "empty")), tmp_path / "one", str(tmp_path / "empty"), "config.json")
    folder = encoder_folder(tmp_path / "source")
    (folder / "model.safetensors").write_bytes(b"not weights")
    check_refuses(HuggingFace(path=str(folder)), tmp_path / "two", str(folder))


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ModelError, match=r"package 'no_such_weights' is not installed\. Run: pip install no-such-weights"):
        HuggingFace(path="model", package="no_such_weights").snapshot(Path("unused"), trust=False)


def test_the_tokenizer_pads_and_cuts_nothing_by_itself(tmp_path: Path) -> None:
    folder = encoder_folder(tmp_path / "source")
    facts = json.loads((folder / "tokenizer.json").read_text())
    padding = {"strategy": {"Fixed": 40}, "direction": "Right", "pad_to_multiple_of": None}
    facts["padding"] = padding | {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    facts["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(facts))
    pipeline = snapshot(HuggingFace(path=str(folder)), tmp_path / "model")
    kept = json.loads((pipeline.directory / "tokenizer.json").read_text())
    assert kept["padding"] is None and kept["truncation"] is None


@pytest.mark.parametrize("path", ["./gone", "../gone", "~/no such folder", "/gone/model", "a/b/c"])
def test_a_path_that_leads_nowhere_is_no_name_on_the_hub(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.create_connection", None)
    with pytest.raises(ModelError, match=r"no folder at /.*: give one that save_pretrained wrote, or a name on the hub"):
        HuggingFace(path=path).snapshot(Path("unused"), trust=False)


def test_a_folder_that_is_nearly_there_is_offered(tmp_path: Path) -> None:
    (tmp_path / "encoder").mkdir()
    check_refuses(HuggingFace(path=str(tmp_path / "encodr")), tmp_path / "model", "no folder at", "Did you mean 'encoder'?")


def test_a_hub_that_cannot_be_reached_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(address: object, timeout: float) -> None:
        asked.append(address)
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr(huggingface, "getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    check_refuses(
        HuggingFace(path="nobody/has-it"),
        tmp_path / "model",
        "'nobody/has-it' is no folder here",
        "cannot be reached (Network is unreachable)",
        "Name a local folder",
        "hf download nobody/has-it",
    )
    assert len(asked) == 1


def test_offline_an_earlier_download_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layout of the hub's cache: a commit's files, and a ref that names the commit."""
    cached = tmp_path / "cache" / "models--some--encoder"
    encoder_folder(cached / "snapshots" / "c0ffee")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("c0ffee")
    for name in ("huggingface_hub.constants.HF_HUB_CACHE", "transformers.utils.hub.constants.HF_HUB_CACHE"):
        monkeypatch.setattr(name, str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_runs_as_described(snapshot(HuggingFace(path="some/encoder"), tmp_path / "model"))


def test_only_an_encoder_without_a_head_is_asked_for_its_task(tmp_path: Path) -> None:
    assert HuggingFace(path=str(encoder_folder(tmp_path / "plain"))).questions() == {"task": "embedding"}
    assert HuggingFace(path=str(encoder_folder(tmp_path / "head", "BertForMaskedLM"))).questions() == {}
    assert HuggingFace(path="a-name/on-the-hub").questions() == {}
