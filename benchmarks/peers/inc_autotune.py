"""Intel Neural Compressor's autotune of the torch module: try configurations in order, stop at the first that keeps the score.

/path/to/inc-environment/bin/python benchmarks/peers/inc_autotune.py FOLDER/fixed32
"""

from collections.abc import Callable
from typing import Any

import question
import torch
from neural_compressor.torch.export import export
from neural_compressor.torch.quantization import (
    DynamicQuantConfig,
    StaticQuantConfig,
    TuningConfig,
    autotune,
    get_all_config_set,
)
from question import Found, Question


def everything(asked: Question) -> Found:
    """Its own set of all configurations, on the module as it is."""
    return tune(asked, question.module(), get_all_config_set())


def post_training(asked: Question) -> Found:
    """Its static, then its dynamic configurations for tuning, on the graph exported for this shape, as its PT2E page shows."""
    graph = export(question.module(), example_inputs=_tensors(asked.feeds("calibrate")[0]))
    return tune(asked, graph, [StaticQuantConfig.get_config_set_for_tuning(), DynamicQuantConfig.get_config_set_for_tuning()])


def tune(asked: Question, model: Any, config_set: Any) -> Found:
    scores: list[float] = []

    def cosine(candidate: Any) -> float:
        scores.append(1.0 - asked.drop("tune", _runner(candidate)))
        return scores[-1]

    def calibrate(candidate: Any) -> None:
        for feeds in asked.feeds("calibrate"):
            candidate(*_tensors(feeds))

    example = _tensors(asked.feeds("calibrate")[0])
    settings = TuningConfig(config_set=config_set, tolerable_loss=question.MAX_DROP)
    try:
        best = autotune(model, settings, eval_fn=cosine, run_fn=calibrate, example_inputs=example)
    except Exception as error:  # with what it had reached
        raise RuntimeError(f"{error}; baseline and trials scored {[round(s, 4) for s in scores]}") from error
    if best is None:
        raise RuntimeError(f"autotune returned no model; baseline and trials scored {[round(s, 4) for s in scores]}")
    chosen = {str(key): value.to_dict() if hasattr(value, "to_dict") else str(value) for key, value in best.qconfig.items()}
    run = _runner(best)
    torch.export.save(torch.export.export(best, example), asked.folder / "inc.pt2")
    return Found(
        model="inc.pt2",
        form="exported",
        precision="int8",
        chose=f"trial {len(scores) - 1}: {chosen}"[:800],
        own_drop=1.0 - scores[-1],
        run=run,
    )


def _tensors(feeds: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(torch.from_numpy(value) for value in feeds.values())


def _runner(model: Any) -> Callable[[dict[str, Any]], Any]:
    def run(feeds: dict[str, Any]) -> Any:
        with torch.no_grad():
            return model(*_tensors(feeds)).float().numpy()

    return run


FLOWS: dict[str, Callable[[Question], Found]] = {"static, dynamic": post_training, "get_all_config_set": everything}

if __name__ == "__main__":
    question.put("inc", ("neural-compressor", "torch", "torchao", "transformers"), FLOWS)
