"""New labels, LoRA, several tasks: what may move moves, what is frozen does not, and the result is an ordinary pipeline."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from farthing import codec, transform
from farthing import pipeline as pipelines
from farthing.adaptation import Adaptation, Task, adapt
from farthing.adaptation.learning import Lesson
from farthing.adaptation.lora import LowRankUpdates
from farthing.adaptation.modules import Offsets
from farthing.adaptation.network import network
from farthing.errors import BuildError, DataError
from farthing.forms import torch_form
from farthing.model_sources.base import snapshot_object
from farthing.testing import samples, zoo
from farthing.training import Schedule, fit
from farthing.types import Build, Context, Dataset, Learning, MemberRef, Pipeline

N = 400


def model(name: str, directory: Path) -> Pipeline:
    return zoo.source(name, directory / name)


def by_feature(n: int = N, seed: int = 5, num_classes: int = 3) -> Dataset:
    """For the mlp: the class is where the first number falls."""
    rows = np.random.default_rng(seed).standard_normal((n, 12)).astype(np.float32)
    return Dataset(columns=(rows,), labels=np.digitize(rows[:, 0], np.linspace(-0.6, 0.6, num_classes - 1)))


def by_token(n: int = N, seed: int = 5) -> Dataset:
    """For models of ids: whether most ids are in the upper half of the vocabulary, which the first id decides for all."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, n)
    ids = np.empty(n, object)
    half = zoo.NUM_TOKENS // 2
    ids[:] = [half * label + draw.integers(0, half, 4 + int(draw.integers(8))) for label in labels]
    return Dataset(columns=(ids,), labels=labels)


def images(n: int = N, seed: int = 5) -> Dataset:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, n)
    pixels = draw.standard_normal((n, 1, 8, 8)).astype(np.float32) + labels[:, None, None, None].astype(np.float32)
    return Dataset(columns=(pixels,), labels=labels)


DATA = {"mlp": by_feature, "encoder": by_token, "lstm": by_token, "cnn": images}


def answers(pipeline: Pipeline, data: Dataset) -> list[np.ndarray]:
    session = torch_form.TorchSession(torch_form.load(pipeline), pipeline.inputs, threads=1)
    batches = [session.run(feeds) for feeds in pipelines.feeds_of(pipeline, data.requests, 1)]
    return [np.concatenate(values) for values in zip(*batches, strict=True)]


def accuracy(pipeline: Pipeline, data: Dataset, output: int = 0) -> float:
    return float((answers(pipeline, data)[output].argmax(1) == data.labels).mean())


def _example(source: Pipeline) -> tuple[np.ndarray, ...]:
    (feeds,) = pipelines.feeds_of(source, [("a cat",), ("a dog",)], 2)
    return tuple(feeds.values())


def weights(pipeline: Pipeline) -> dict[str, torch.Tensor]:
    return dict(torch_form.load(pipeline).state_dict())


# ---------------------------------------------------------------- new labels


@pytest.mark.parametrize(
    ("name", "how"), [("mlp", "head"), ("encoder", "unfreeze"), ("encoder", "lora"), ("mlp", "lora"), ("cnn", "full")]
)
def test_new_labels_are_learned_and_the_source_is_left_alone(tmp_path, name: str, how: str) -> None:
    source = model(name, tmp_path)
    before = codec.digest_tree(source.directory)
    tasks = [Task(name="new", data=DATA[name](), num_outputs=3 if name == "mlp" else 2)]
    adaptation = Adaptation(how=how, epochs=15, learning_rate=1e-2 if how in ("head", "lora") else 3e-3)
    result = adapt(source, tmp_path / "result", tasks, adaptation)
    assert codec.digest_tree(source.directory) == before
    assert pipelines.read(result.directory) == result
    assert (result.form, result.traits, result.inputs) == (source.form, source.traits, source.inputs)
    assert result.outputs[0].shape == ("batch", tasks[0].num_outputs)
    assert accuracy(result, DATA[name](seed=6)) > (0.6 if how == "head" else 0.8)  # random features know little


def test_the_frozen_phase_moves_the_head_and_nothing_else(tmp_path) -> None:
    """Weights, and the statistics of batch norms as well."""
    source = model("cnn", tmp_path)
    result = adapt(source, tmp_path / "result", [Task(name="new", data=images(), num_outputs=2)], Adaptation(how="head"))
    before, after = weights(source), weights(result)
    assert before.keys() == after.keys()
    moved = {name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])}
    assert moved == {"head.weight", "head.bias"}


def test_unfreezing_begins_frozen_and_then_moves_the_first_layer_least(tmp_path, monkeypatch) -> None:
    source = model("encoder", tmp_path)
    began: list[dict[str, torch.Tensor]] = []
    moved = Lesson._moved

    def watching(lesson: Lesson, factors: dict[str, float]) -> nn.Module:
        began.append({name: value.clone() for name, value in lesson.net.module.state_dict().items()})
        return moved(lesson, factors)

    monkeypatch.setattr(Lesson, "_moved", watching)
    adaptation = Adaptation(how="unfreeze", epochs=2, lowest=0.01)
    result = adapt(source, tmp_path / "result", [Task(name="new", data=by_token(), num_outputs=2)], adaptation)
    before, (middle,), after = weights(source), began, weights(result)
    backbone = [name for name in before if not name.startswith("head")]
    assert all(torch.equal(before[name], middle[name]) for name in backbone)
    assert not any(torch.equal(middle[name], after[name]) for name in backbone if name.endswith("weight"))
    first, last = ((after[n] - middle[n]).abs().max() for n in ("blocks.0.query.weight", "blocks.3.down.weight"))
    assert first < 0.3 * last, "the first layers move at a lower rate"


def test_an_embedding_gets_a_head_and_keeps_its_tokenizer(tmp_path) -> None:
    source = samples.pipeline("encoder", tmp_path / "encoder")
    texts = [" ".join(samples.WORDS[(i * 7 + j * (3 + i % 2)) % 16] for j in range(4 + i % 5)) for i in range(200)]
    data = Dataset(columns=(texts,), labels=np.array(["cat" in text.split() for text in texts]).astype(int))
    result = adapt(source, tmp_path / "result", [Task(name="cat", data=data, num_outputs=2)], Adaptation(epochs=2))
    assert result.tokenizer == source.tokenizer and (result.directory / "tokenizer.json").is_file()
    assert result.outputs[0].shape == ("batch", 2)
    majority = max(data.labels.mean(), 1 - data.labels.mean())
    assert accuracy(result, data) > majority
    (tmp_path / "again").mkdir()  # what comes out can be given to `optimize` as what went in
    again = snapshot_object(
        (torch_form.load(result), _example(source), source.directory / "tokenizer.json", 64), tmp_path / "again"
    )
    assert again.inputs == source.inputs and again.outputs[0].shape == ("batch", 2)


def test_the_models_own_head_goes_on_with_the_same_labels(tmp_path) -> None:
    source = model("mlp", tmp_path)
    data = by_feature(num_classes=5)
    result = adapt(source, tmp_path / "result", [Task(name="same", data=data)], Adaptation(how="full", learning_rate=5e-3))
    assert result.outputs == source.outputs
    assert accuracy(result, by_feature(num_classes=5, seed=6)) > accuracy(source, by_feature(num_classes=5, seed=6)) + 0.3


def test_one_number_is_learned_by_squared_error(tmp_path) -> None:
    rows = np.random.default_rng(0).standard_normal((N, 12)).astype(np.float32)
    data = Dataset(columns=(rows,), labels=40 + 7 * rows[:, 1])
    source = model("mlp", tmp_path)
    result = adapt(
        source,
        tmp_path / "result",
        [Task(name="y", data=data, num_outputs=1)],
        Adaptation(how="full", epochs=30, learning_rate=1e-2),
    )
    assert np.sqrt(np.mean((answers(result, data)[0][:, 0] - data.labels) ** 2)) < 3.5


def test_scores_that_sum_to_one_are_fitted_by_their_logarithms(tmp_path) -> None:
    module = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softmax(1)).eval()
    spec = zoo.NETWORKS["mlp"].inputs
    (tmp_path / "source").mkdir()
    source = torch_form.snapshot(module, spec, {"input": np.zeros((2, 12), np.float32)}, tmp_path / "source")
    task = Task(name="same", data=by_feature())
    result = adapt(source, tmp_path / "result", [task], Adaptation(how="full", epochs=15, learning_rate=1e-2))
    got = answers(result, by_feature(seed=6))[0]
    assert np.allclose(got.sum(1), 1, atol=1e-5) and (got.argmax(1) == by_feature(seed=6).labels).mean() > 0.85
    with pytest.raises(BuildError, match="no linear layer of Sequential gives its answer, so there is no head to learn"):
        adapt(source, tmp_path / "refused", [task], Adaptation(how="head"))


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path) -> None:
    source, tasks = model("mlp", tmp_path), [Task(name="new", data=by_feature(), num_outputs=3)]
    same, again, other = (
        codec.digest_tree(adapt(source, tmp_path / str(i), tasks, Adaptation(how="lora", epochs=2, seed=seed)).directory)
        for i, seed in enumerate((1, 1, 2))
    )
    assert same == again != other


# ---------------------------------------------------------------- offsets and LoRA


def test_an_offset_moves_its_weight_at_its_own_rate() -> None:
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    start = module.weight.detach().clone()
    x = torch.randn(100, 4)
    offsets = Offsets(module, {"weight": 0.01})
    fit(
        offsets, lambda m, items: ((m(x[items]) - 1.0) ** 2).mean(), np.ones(100),
        schedule=Schedule(epochs=1, batch_size=90, learning_rate=1e-2, warmup=0.0, weight_decay=0.0), tell=lambda _: None,
    )  # fmt: skip
    assert torch.equal(module.weight, start), "nothing is written before it is settled"
    bias = module.bias.detach().clone()
    offsets.settle()
    moved = (module.weight - start).abs()
    assert torch.allclose(moved, torch.full_like(moved, 1e-4), rtol=0.01), "Adam's first step is the rate, times the factor"
    assert torch.equal(module.bias, bias)


@pytest.mark.parametrize("name", ["mlp", "encoder", "cnn"])
def test_lora_merged_answers_as_unmerged(tmp_path, name: str) -> None:
    source = model(name, tmp_path)
    feeds = pipelines.feeds_of(source, DATA[name]().requests[:8], 1)
    example = torch_form.tensors(feeds[0], source.inputs)
    module = torch_form.load(source)
    net = network(module, [Task(name="same", data=DATA[name]())], example)
    updates = LowRankUpdates(module, net.heads, rank=4, alpha=8)
    generator = torch.Generator().manual_seed(0)
    for parameter_name, parameter in module.named_parameters():
        if parameter_name in updates.names:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    with torch.no_grad():
        plain = [torch_form.load(source)(*torch_form.tensors(f, source.inputs)) for f in feeds]
        beside = [module(*torch_form.tensors(f, source.inputs)) for f in feeds]
        merged = updates.merged(example)
        within = [merged(*torch_form.tensors(f, source.inputs)) for f in feeds]
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(beside, within, strict=True))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(plain, within, strict=True))
    assert merged.state_dict().keys() == torch_form.load(source).state_dict().keys()


def test_what_reads_its_weights_past_its_layers_is_found_when_merging() -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(nn.functional.linear(x, self.inner.weight))

    module = Past().eval()
    updates = LowRankUpdates(module, ("head",), rank=2, alpha=4)
    for name, parameter in module.named_parameters():
        if name in updates.names:
            parameter.data = torch.ones(parameter.shape)
    with pytest.raises(BuildError, match="Past answers otherwise"):
        updates.merged((torch.ones(1, 4),))


def test_the_result_of_lora_opens_without_peft(tmp_path) -> None:
    source = model("mlp", tmp_path)
    task = Task(name="new", data=by_feature(), num_outputs=3)
    result = adapt(source, tmp_path / "result", [task], Adaptation(how="lora", epochs=1))
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from pathlib import Path\nfrom farthing import pipeline\nfrom farthing.forms import torch_form\n"
        "print(sorted(n for n, _ in torch_form.load(pipeline.read(Path(sys.argv[1]))).named_parameters()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(result.directory)], capture_output=True, text=True, check=True)
    assert "lora" not in done.stdout and "6.weight" in done.stdout


def test_a_model_without_layers_that_lora_treats_is_refused(tmp_path) -> None:
    task = Task(name="new", data=by_token(), num_outputs=2)
    with pytest.raises(BuildError, match=r"Recurrent has no linear layer or convolution besides its head"):
        adapt(model("lstm", tmp_path), tmp_path / "result", [task], Adaptation(how="lora"))


# ---------------------------------------------------------------- several tasks


def tasks_of_two() -> list[Task]:
    rows = by_feature().columns[0]
    assert isinstance(rows, np.ndarray)
    return [
        Task(name="third", data=by_feature(), num_outputs=3),
        Task(name="sign", data=Dataset(columns=(rows[:300],), labels=(rows[:300, 1] > 0).astype(int)), num_outputs=2),
    ]


def test_several_tasks_share_a_backbone_and_answer_as_a_tuple(tmp_path) -> None:
    source = model("mlp", tmp_path)
    result = adapt(source, tmp_path / "result", tasks_of_two(), Adaptation(how="full", epochs=20, learning_rate=3e-3))
    assert [(spec.name, spec.shape) for spec in result.outputs] == [("third", ("batch", 3)), ("sign", ("batch", 2))]
    test = by_feature(seed=6)
    rows = test.columns[0]
    assert isinstance(rows, np.ndarray)
    assert accuracy(result, test) > 0.8
    assert accuracy(result, replace(test, labels=(rows[:, 1] > 0).astype(int)), output=1) > 0.8
    names = {name.partition(".")[0] for name in weights(result)}
    assert names == {"backbone", "heads"}


def test_several_tasks_convert_and_run_without_torch(tmp_path) -> None:
    source = model("mlp", tmp_path)
    result = adapt(source, tmp_path / "result", tasks_of_two(), Adaptation(how="head"))
    feeds = tuple(pipelines.feeds_of(result, by_feature().requests[:8], 2))
    build = Build(recipe=(), runtime=MemberRef(name="onnxruntime"))
    onnx = transform.apply(result, build, tmp_path / "onnx", Context(calibration=feeds))
    assert onnx.form == "onnx" and [spec.name for spec in onnx.outputs] == ["third", "sign"]


def test_a_second_task_leaves_the_first_heads_answers_alone(tmp_path) -> None:
    """The backbone frozen, the own head kept by its labels: the first output can only change as much as its head does."""
    source = model("mlp", tmp_path)
    own = answers(source, by_feature())[0].argmax(1)
    first = Task(name="own", data=replace(by_feature(), labels=own))
    second = replace(tasks_of_two()[1], name="second")
    result = adapt(source, tmp_path / "result", [first, second], Adaptation(how="head"))
    backbone = {name.removeprefix("backbone."): v for name, v in weights(result).items() if name.startswith("backbone.")}
    assert backbone and all(torch.equal(weights(source)[name], value) for name, value in backbone.items())
    assert (answers(result, by_feature())[0].argmax(1) == own).mean() > 0.8


# ---------------------------------------------------------------- bad input


def refused(tmp_path: Path, data: Dataset, **task: object) -> str:
    given = {"num_outputs": 3} | task
    with pytest.raises((DataError, BuildError)) as caught:
        adapt(model("mlp", tmp_path), tmp_path / "result", [Task(name="t", data=data, **given)])
    assert not (tmp_path / "result").exists() and str(caught.value).startswith("adapt: ")
    return str(caught.value)


def test_labels_that_are_no_classes_of_the_model_are_refused(tmp_path) -> None:
    said = refused(tmp_path, by_feature(num_classes=9), num_outputs=None)
    assert "labels from 0 to 8, and its answer is 5 classes, 0 to 4" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": None}, "needs a number as the label of each item; it has none"),
        ({"labels": np.full(N, np.nan)}, "label of 400 items is NaN or infinite, item 1 first"),
        ({"labels": np.linspace(0, 2, N)}, "labels that are no whole numbers, and its answer is 3 classes"),
        ({"labels": np.array(["a"] * N)}, "needs a number as the label"),
        ({"pair": True}, "is of pairs"),
        ({"columns": (np.full((N, 12), np.inf, np.float32),)}, "input 1 of 400 items is NaN or infinite"),
    ],
)
def test_rows_that_cannot_be_learned_are_refused(tmp_path, change: dict[str, object], says: str) -> None:
    assert says in refused(tmp_path, replace(by_feature(), **change))


def test_too_few_rows_are_refused(tmp_path) -> None:
    assert "has 19 items, and learning takes at least 20" in refused(tmp_path, by_feature(19))


@pytest.mark.parametrize(
    ("adaptation", "says"),
    [
        (Adaptation(how="most"), "how = 'most' is none of head, unfreeze, lora, full"),  # type: ignore[arg-type]
        (Adaptation(rank=0), "rank = 0; it is at least 1"),
        (Adaptation(epochs=0), "epochs = 0; it is at least 1"),
        (Adaptation(learning_rate=0.0), "rate = 0; it must be above 0"),
        (Adaptation(lowest=-1.0), "lowest = -1; it must be above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, adaptation: Adaptation, says: str) -> None:
    with pytest.raises(BuildError, match=f"adapt: {says}"):
        adapt(model("mlp", tmp_path), tmp_path / "result", [Task(name="t", data=by_feature(), num_outputs=3)], adaptation)


def test_other_forms_and_other_traits_are_refused(tmp_path) -> None:
    source = replace(model("mlp", tmp_path), form="onnx", traits=frozenset({"int8"}))
    with pytest.raises(BuildError, match="adapt: learning takes a torch model with float weights; this one is onnx with int8"):
        adapt(source, tmp_path / "result", [Task(name="t", data=by_feature(), num_outputs=3)])


def test_tasks_are_told_apart_and_only_the_first_keeps_the_head(tmp_path) -> None:
    source, data = model("mlp", tmp_path), by_feature()
    for tasks, says in (
        ([], "no task to learn"),
        ([Task(name="a", data=data, num_outputs=3)] * 2, "two tasks have one name: a, a"),
        ([Task(name="a", data=data, num_outputs=3), Task(name="b", data=data)], "only the first may keep"),
        ([Task(name="a", data=data, num_outputs=0)], "num_outputs = 0; a head has 1 at least"),
    ):
        with pytest.raises(DataError, match=says):
            adapt(source, tmp_path / "result", tasks)


def test_a_training_that_never_was_finite_says_what_to_lower(tmp_path) -> None:
    with pytest.raises(BuildError, match="Lower learning_rate"):
        adapt(
            model("mlp", tmp_path), tmp_path / "result", [Task(name="t", data=by_feature(), num_outputs=3)],
            Adaptation(how="full", learning_rate=1e30),
        )  # fmt: skip


def test_a_training_that_diverges_keeps_the_last_good_weights(tmp_path, monkeypatch) -> None:
    """From the third epoch of five on the loss is no number: what is left is what two epochs give."""
    source, tasks = model("mlp", tmp_path), [Task(name="new", data=by_feature(), num_outputs=3)]
    steps = 0

    def exploding(module, loss, *rest, **named):
        if isinstance(module, nn.ModuleList):  # the heads alone
            return fit(module, loss, *rest, **named)

        def spoiled(one, items):
            nonlocal steps
            steps += one.training
            return loss(one, items) * (float("nan") if steps > 2 * 12 else 1.0)

        return fit(module, spoiled, *rest, **named)

    monkeypatch.setattr("farthing.adaptation.learning.fit", exploding)
    result = adapt(source, tmp_path / "result", tasks, Adaptation(how="full", epochs=5, learning_rate=5e-3))
    assert steps == 2 * 12 + 1, "it stopped at once"
    assert all(torch.isfinite(value).all() for value in weights(result).values())
    assert accuracy(result, by_feature(seed=6)) > 0.6


def test_a_training_that_was_interrupted_goes_on_to_the_same_weights(tmp_path, monkeypatch) -> None:
    """In the second phase of unfreezing, after the first epoch of it."""
    source, tasks = model("mlp", tmp_path), [Task(name="new", data=by_feature(), num_outputs=3)]
    adaptation = Adaptation(how="unfreeze", epochs=3)
    whole = adapt(source, tmp_path / "whole", tasks, adaptation)
    told: list[Learning] = []

    def dying(learning: Learning) -> None:
        told.append(learning)
        if (learning.epoch, learning.num_epochs) == (1, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr("farthing.adaptation.learning.fit", lambda *a, **k: fit(*a, **k, tell=dying))
    with pytest.raises(KeyboardInterrupt):
        adapt(source, tmp_path / "result", tasks, adaptation, checkpoints=tmp_path / "kept")
    before = len(told)
    monkeypatch.setattr("farthing.adaptation.learning.fit", lambda *a, **k: fit(*a, **k, tell=told.append))
    resumed = adapt(source, tmp_path / "result", tasks, adaptation, checkpoints=tmp_path / "kept")
    assert [(learning.epoch, learning.num_epochs) for learning in told[before:]] == [(2, 3), (3, 3)]
    assert codec.digest_tree(resumed.directory) == codec.digest_tree(whole.directory)
