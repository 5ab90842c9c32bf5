"""The laws of a renderer, and a plan of a small encoder, for tests here and of other packages."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from farthing.renderers.base import SCALERS, Plan, Renderer, labels, selector
from farthing.results import Cost, CostLine, Measurement
from farthing.sizing import Load, Reasoned, size
from farthing.types import Build, Deployment, MemberRef

DEPLOYMENT = Deployment(
    build=Build(recipe=(), runtime=MemberRef(name="onnxruntime")),
    threads=2,
    streams=3,
    batch_size=8,
    batch_delay_s=0.01,
    replicas=2,
)


def measured(name: str, value: float) -> Measurement:
    return Measurement(name=name, value=value, unit="1", low=value, high=value, num_samples=1, protocol="made up")


FIGURES = (measured("peak_bytes", 400.0 * 2**20), measured("busy_s_per_request", 0.03), measured("batch_s", 0.05))
# 100 requests/s, each 20 ms of 6 vCPUs.
COST = Cost(
    lines=(
        CostLine(
            sku="small",
            unit="vCPU-second",
            quantity=0.12e6,
            usd_per_unit=1e-5,
            usd=1.2,
            source="made up",
            observed_at="2026-01-01",
        ),
    ),
    usd_per_million=1.2,
    usd_per_month=1.2 * 100 * 730 * 3600 / 1e6,
)


def plan(load: Load | None = None, **changes: Any) -> Plan:
    made_up = Plan(
        name="encoder",
        version="0123456789ab",
        namespace="models",
        image="registry.example/encoder:1",
        deployment=DEPLOYMENT,
        size=size(DEPLOYMENT, FIGURES, COST, load or Load()),
        drain_s=20.0,
        scaler="hpa",
        prometheus="http://prometheus.monitoring:9090",
        monitored=True,
        pickled=False,
        needs_torch=False,
        versions={"python": "3.11.7", "farthing": "0.1.0", "numpy": "2.4.6", "onnxruntime": "1.32.0"},
        manifest_sha256="e" * 64,
    )
    return replace(made_up, **changes)


def check_renderer(renderer: Renderer) -> None:
    """The same twice; the plan's name, namespace, labels and selector; one scaler's file is not another's."""
    wanted = [plan(scaler=scaler) for scaler in SCALERS if renderer.wanted(plan(scaler=scaler))]
    assert wanted, f"{renderer} is wanted for no scaler"
    for each in wanted:
        rendered = renderer.render(each)
        assert rendered == renderer.render(each), "rendering twice gave two texts"
        if not isinstance(rendered, str):
            _check_object(rendered, each)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of every leaf; an item of a list is named by its number."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for number, value in enumerate(tree):
            yield from leaves(value, (*path, str(number)))
    else:
        yield path, tree


def _check_object(tree: Mapping[str, Any], each: Plan) -> None:
    metadata = tree["metadata"]
    assert (metadata["name"], metadata["namespace"]) == (each.name, each.namespace)
    assert metadata["labels"] == labels(each)
    for path, value in leaves(tree):
        if "matchLabels" in path:
            assert selector(each)[path[-1]] == value, f"{'.'.join(path)} selects other pods than the plan's"
        if isinstance(value, Reasoned):
            assert value.reason and "\n" not in value.reason, f"{'.'.join(path)} needs a reason of one line"
