"""A transformers model with its tokenizer, from a folder, an installed package or the hub."""

import difflib
import importlib.util
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

from farthing.errors import MissingExtra, ModelError
from farthing.model_sources.base import TOKENIZER, ModelSource, inside, save_tokenizer, text_example, text_inputs
from farthing.types import Pipeline

HEADS = {  # task -> the class that brings the weights, and which of its outputs is the answer
    "embedding": ("AutoModel", "last_hidden_state"),
    "classification": ("AutoModelForSequenceClassification", "logits"),
    "tokens": ("AutoModelForTokenClassification", "logits"),
    "masked": ("AutoModelForMaskedLM", "logits"),
    "hidden": ("AutoModel", "last_hidden_state"),
}
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
HUB_TIMEOUT_S = 10.0
CONVERT = " Weights in a pickle (.bin) run code when opened: convert them to safetensors, or set trust = true."
UNSET = 10**9  # tokenizers without a longest length say some huge number


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace(ModelSource):
    """An embedding is pooled and normalized as sentence-transformers wrote down beside the weights; these keys overrule it.

    Weights are read as float32, from safetensors; code of the model's own repository is never run.
    """

    path: str  # a folder, or a name on the hub
    package: str | None = None  # then `path` is a folder inside this installed package
    revision: str | None = None  # of a name on the hub
    task: Literal["embedding", "classification", "tokens", "masked", "hidden"] | None = None  # None: as its config says
    pooling: Literal["mean", "cls", "max"] | None = None
    normalize: bool | None = None
    max_length: int | None = None  # in tokens

    def check(self, *, trust: bool) -> None:
        path = self._path()
        if self.package is not None or looks_like_a_path(path):
            _check_folder(Path(path), trust)
        elif not HUB_NAME.fullmatch(path):
            raise ModelError(f"{path!r} is neither a folder that is there nor a name on the hub (organisation/name)")

    @property
    def reads(self) -> Literal["texts"]:
        return "texts"

    def questions(self) -> Mapping[str, Any]:
        """The task of an encoder without a head, which is a matter of taste."""
        config = Path(self._path()) / "config.json"
        if self.task is not None or not config.is_file():
            return {}
        task = _task_of(json.loads(config.read_text()).get("architectures"))
        return {"task": task} if task == "embedding" else {}

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        self.check(trust=trust)
        try:
            import safetensors
            import transformers
        except ImportError as error:
            raise MissingExtra("transformers", "huggingface") from error
        from farthing.forms import torch_form

        where = {"pretrained_model_name_or_path": self._path(), "revision": self.revision, "trust_remote_code": False}
        if not Path(self._path()).is_dir():
            where["local_files_only"] = not _hub_answers(self._path(), self.revision)
        try:
            config = transformers.AutoConfig.from_pretrained(**where)
            task = self.task or _task(config)
            model = _weights(getattr(transformers, HEADS[task][0]), where, task, trust)
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
            raise ModelError(f"{where['pretrained_model_name_or_path']}: {error}{_advice(error)}") from error
        if not tokenizer.is_fast:
            raise ModelError(f"{self.path}: {type(tokenizer).__name__} has no fast form; write a {TOKENIZER} for it first")
        save_tokenizer(tokenizer.backend_tokenizer, directory)
        kept = _sentence_settings(where)
        inputs = text_inputs(_input_names(directory))
        module = self._module(model, task, kept)
        text = {
            "tokenizer": TOKENIZER,
            "max_length": self.max_length or kept.get("max_length") or _longest(tokenizer, config),
            "pad_id": tokenizer.pad_token_id or 0,
        }
        return torch_form.snapshot(module, inputs, text_example(directory, inputs), directory, **text)

    def _path(self) -> str:
        if self.package is None:
            return str(Path(self.path).expanduser().absolute()) if looks_like_a_path(self.path) else self.path
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"package {self.package!r} is not installed. Run: pip install {self.package.replace('_', '-')}")
        return str(Path(spec.submodule_search_locations[0]) / self.path)

    def _module(self, model: Any, task: str, kept: dict[str, Any]) -> Any:
        from farthing.forms import sentence_modules

        if task == "embedding":
            pooling = self.pooling or kept.get("pooling", "mean")
            normalize = kept.get("normalize", False) if self.normalize is None else self.normalize
            return sentence_modules.Embedder(model, pooling, normalize).eval()
        if self.pooling is not None or self.normalize is not None:
            raise ModelError(
                f"pooling and normalize have no effect on task = {task!r}: leave them out, or ask for an embedding"
            )
        return sentence_modules.Head(model, HEADS[task][1]).eval()


def looks_like_a_path(path: str) -> bool:
    """Rather than a name on the hub, which is `name` or `organisation/name`."""
    return path.startswith((".", "/", "~")) or "\\" in path or path.count("/") > 1 or Path(path).is_dir()


def _check_folder(folder: Path, trust: bool) -> None:
    if not folder.is_dir():
        near = difflib.get_close_matches(folder.name, [p.name for p in folder.parent.glob("*") if p.is_dir()], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"no folder at {folder}: give one that save_pretrained wrote, or a name on the hub.{hint}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: give a folder that save_pretrained wrote{inside(folder, '*')}")
    if not any(folder.glob("*.safetensors")) and not (trust and any(folder.glob("*.bin"))):
        advice = CONVERT if any(folder.glob("*.bin")) else f" It holds{inside(folder, '*')}."
        raise ModelError(f"{folder} has no file named *.safetensors.{advice}")


def _hub_answers(name: str, revision: str | None) -> bool:
    """Asked once and not for long, where transformers asks each file six times. False: an earlier download will do.

    Raises ModelError if there is none.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    hub = urlsplit(constants.ENDPOINT)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        if not getproxies():  # a proxy's answer says nothing of the hub's
            socket.create_connection((hub.hostname, hub.port or 443), timeout=HUB_TIMEOUT_S).close()
    except OSError as error:
        if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
            return False
        reason = error.strerror or error
        raise ModelError(
            f"{name!r} is no folder here, and the hub, {hub.hostname}, cannot be reached ({reason}). Name a local folder; or"
            f" download it where there is a network (hf download {name}), and take along what HF_HOME holds"
        ) from error
    return True


def _weights(cls: Any, where: dict[str, Any], task: str, trust: bool) -> Any:
    import torch

    torch.manual_seed(0)  # of parts that the file lacks and the answer does not use, such as a pooler
    model, loading = cls.from_pretrained(
        **where, use_safetensors=None if trust else True, dtype=torch.float32, output_loading_info=True
    )
    missing = [name for name in loading["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise ValueError(f"the file has no weights for {', '.join(sorted(missing)[:5])}, which task = {task!r} needs")
    return model


def _task(config: Any) -> str:
    return _task_of(config.architectures)


def _task_of(architectures: list[str] | None) -> str:
    """From the class that the weights were saved from."""
    architecture = (architectures or [""])[0]
    marks = {"ForSequenceClassification": "classification", "ForTokenClassification": "tokens", "ForMaskedLM": "masked"}
    return next((task for mark, task in marks.items() if architecture.endswith(mark)), "embedding")


def _sentence_settings(where: dict[str, Any]) -> dict[str, Any]:
    """pooling, normalize and max_length as sentence-transformers keeps them, where it wrote the folder."""
    modules = _json(where, "modules.json")
    if modules is None:
        return {}
    kinds = {module["type"].rpartition(".")[2]: module["path"] for module in modules}
    unknown = set(kinds) - {"Transformer", "Pooling", "Normalize"}
    if unknown:
        raise ModelError(f"modules.json names {', '.join(sorted(unknown))}: write a factory for it, with source = 'python'")
    settings: dict[str, Any] = {"normalize": "Normalize" in kinds}
    sentences = _json(where, "sentence_bert_config.json") or {}
    settings["max_length"] = sentences.get("max_seq_length")
    if "Pooling" in kinds:
        settings["pooling"] = _pooling(_json(where, f"{kinds['Pooling']}/config.json") or {})
    return settings


def _pooling(config: dict[str, Any]) -> str:
    flags = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
    modes = [key.removeprefix("pooling_mode_") for key, value in config.items() if key.startswith("pooling_mode_") and value]
    named = next((name for name, flag in flags.items() if config.get(flag)), config.get("pooling_mode"))
    if len(modes) > 1 or named not in flags:
        raise ModelError(f"pooling {' + '.join(modes) or named} is none of {', '.join(flags)}: set pooling, or write a factory")
    return str(named)


def _json(where: dict[str, Any], name: str) -> Any:
    from transformers.utils import cached_file

    file = cached_file(
        where["pretrained_model_name_or_path"],
        name,
        revision=where["revision"],
        local_files_only=where.get("local_files_only", False),
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if file is None else json.loads(Path(file).read_text())


def _input_names(directory: Path) -> list[str]:
    """Token types are fed only where one text has other types than 0, which models assume by themselves."""
    names = ["input_ids", "attention_mask"]
    types = text_example(directory, text_inputs([*names, "token_type_ids"]))["token_type_ids"]
    return [*names, "token_type_ids"] if types.any() else names


def _longest(tokenizer: Any, config: Any) -> int:
    lengths = [n for n in (tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)) if n and n < UNSET]
    if not lengths:
        raise ModelError("neither tokenizer nor config says how long a text may be: set max_length")
    return int(min(lengths))


def _advice(error: Exception) -> str:
    text = str(error)
    if "safetensors" in text and ".bin" not in text and "no file named" in text:
        return CONVERT
    if "trust_remote_code" in text:
        return " Its repository's own code is never run: write a factory for it, with source = 'python'."
    return ""
