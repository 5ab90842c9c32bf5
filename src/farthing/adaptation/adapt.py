"""adapt(): READ FIRST in this folder. Load, give the module its heads, let it learn, write it as an ordinary pipeline."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farthing import pipeline as pipelines
from farthing.adaptation.tasks import Adaptation, Items, Task, check, check_labels
from farthing.errors import BuildError
from farthing.types import Pipeline

if TYPE_CHECKING:
    import torch

EXAMPLE_ROWS = 4


def adapt(
    source: Pipeline,
    directory: Path,
    tasks: Sequence[Task],
    adaptation: Adaptation | None = None,
    *,
    threads: int = 1,
    checkpoints: Path | None = None,
) -> Pipeline:
    """Write into `directory` the torch pipeline `source` when it has learned `tasks`; what it answers first is the first task.

    Several tasks share one backbone and answer as a tuple. `checkpoints`, a folder of this adaptation alone: a call that was
    killed goes on where it was. The same seed and data give the same weights. Laws: `source` is not changed; the result
    needs nothing of what it was learned with (no peft). Runs in a worker process.

    Raises BuildError for a model or setting that cannot learn so, DataError for labels that do not fit or too few rows, and
    MissingExtra.
    """
    adaptation = adaptation or Adaptation()
    adaptation.check()
    check(source, tasks)
    import torch

    from farthing.adaptation.learning import Lesson
    from farthing.adaptation.network import network
    from farthing.forms import torch_form

    torch.set_num_threads(threads)
    items = Items.of(source, tasks)
    feeds = pipelines.collate(source, items.encoded[:EXAMPLE_ROWS])
    example = torch_form.tensors(feeds, source.inputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(adaptation.seed)
        net = network(torch_form.load(source), tasks, example, tuple(spec.name for spec in source.inputs))
        with torch.no_grad():
            widths = tuple(_width(answer) for answer in net.outputs(*example))
        for task, width in zip(tasks, widths, strict=True):
            check_labels(task, width)
        module = Lesson(net, source, replace(items, widths=widths), adaptation, checkpoints).learn()
    return _written(module.eval().requires_grad_(False), source, directory, feeds, tasks)


def _width(answer: "torch.Tensor") -> int:
    if answer.ndim > 2:
        raise BuildError(f"adapt: an item has one label, and the model answers with shape {tuple(answer.shape)} a batch")
    return 1 if answer.ndim == 1 else int(answer.shape[1])


def _written(
    module: "torch.nn.Module", source: Pipeline, directory: Path, example: dict[str, Any], tasks: Sequence[Task]
) -> Pipeline:
    """A task's name is that of its output, where there are several. Raises ModelError for answers that are not finite."""
    from farthing.forms import torch_form
    from farthing.forms.probing import outputs_of

    directory.mkdir(parents=True, exist_ok=True)
    file = torch_form.save(module, directory)
    import torch

    session = torch_form.TorchSession(module, source.inputs, threads=torch.get_num_threads())
    names = [task.name for task in tasks] if len(tasks) > 1 else [spec.name for spec in source.outputs]
    outputs = outputs_of(session.run, example, source.inputs, names)
    return pipelines.derive(source, directory, form="torch", file=file, outputs=outputs)
