"""Model source: a transformers model with its tokenizer, from a folder, an installed package or the hub."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from farthing import pipeline as pipelines
from farthing.errors import MissingExtra, ModelError
from farthing.model_sources.base import ModelSource
from farthing.types import Pipeline, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFace(ModelSource):
    """An embedding is the pooled, normalized output of an encoder."""

    path: str  # a folder, or a name on the hub
    package: str | None = None  # then `path` is a folder inside this installed package
    task: Literal["embedding", "classification", "hidden"] = "embedding"
    pooling: Literal["mean", "cls", "max"] = "mean"
    normalize: bool = True
    max_length: int = 256

    def snapshot(self, directory: Path, *, trust: bool) -> Pipeline:
        try:
            import transformers
        except ImportError as error:
            raise MissingExtra("transformers", "huggingface") from error
        from farthing import sentence_modules, torch_form

        path = self._path()
        encoder = transformers.AutoModel.from_pretrained(path, trust_remote_code=False, use_safetensors=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        tokenizer.backend_tokenizer.no_padding()
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
        module: Any = sentence_modules.Embedder(encoder, self.pooling, self.normalize).eval()
        file = torch_form.save(module, directory)
        pipeline = Pipeline(
            directory=directory,
            form="torch",
            file=file,
            inputs=tuple(
                TensorSpec(name=name, dtype="int64", shape=("batch", "length")) for name in ("input_ids", "attention_mask")
            ),
            outputs=(TensorSpec(name="output", dtype="float32", shape=("batch", encoder.config.hidden_size)),),
            traits=frozenset({"float_weights"}),
            tokenizer="tokenizer.json",
            max_length=self.max_length,
            pad_id=tokenizer.pad_token_id or 0,
            pickled=True,
        )
        return pipelines.write(pipeline)

    def _path(self) -> str:
        if self.package is None:
            return self.path
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"package {self.package!r} is not installed. Run: pip install {self.package.replace('_', '-')}")
        return str(Path(spec.submodule_search_locations[0]) / self.path)
