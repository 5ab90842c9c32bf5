"""What is written for Kubernetes, against the schemas of Kubernetes and of the two operators, and against itself."""

import copy

import jsonschema
import pytest
import yaml as reader

from farthing import plugins
from farthing.renderers.base import SCALERS, Renderer
from farthing.rendering.yaml import yaml
from farthing.sizing import Load
from farthing.testing.renderers import DEPLOYMENT, leaves, plan

from .schemas import operator_schemas, validate

PLANS = {scaler: plan(scaler=scaler) for scaler in SCALERS}


def documents(each):
    """kind -> the object, as Kubernetes reads it."""
    members = [plugins.load(Renderer, name)() for name in plugins.names(Renderer)]
    texts = [yaml(m.render(each), "heading") for m in members if m.target == "kubernetes" and m.wanted(each)]
    read = [reader.safe_load(text) for text in texts]
    return {document["kind"]: document for document in read}


def container_of(document):
    (container,) = document["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize("scaler", SCALERS)
def test_every_object_is_valid(scaler):
    for document in documents(PLANS[scaler]).values():
        validate(document)


@pytest.mark.parametrize("kind", sorted({kind for each in PLANS.values() for kind in documents(each)}))
def test_every_misspelled_field_is_found(kind):
    """The schemas can say no: a letter more in any field of any object turns this red."""
    (document, *_) = [found[kind] for scaler in SCALERS if kind in (found := documents(PLANS[scaler]))]
    free = {"labels", "matchLabels", "requests", "limits"}  # maps whose keys are the user's own
    paths = {path[: n + 1] for path, _ in leaves(document) for n in range(len(path))}
    tried = 0
    for path in paths:
        if path[-1].isdigit() or "/" in path[-1] or (free | {"metadata"}) & set(path[:-1]) or path[0] in ("apiVersion", "kind"):
            continue
        broken = copy.deepcopy(document)
        place = broken
        for key in path[:-1]:
            place = place[int(key) if isinstance(place, list) else key]
        place[path[-1] + "x"] = place.pop(path[-1])
        with pytest.raises(jsonschema.ValidationError):
            validate(broken)
        tried += 1
    assert tried >= 3


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "terminationGracePeriodSeconds"), "long"),
        ("Deployment", ("spec", "template", "spec", "containers"), None),
        ("Service", ("spec", "ports", 0, "port"), "eighty"),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas"), "many"),
        ("PodDisruptionBudget", ("spec", "selector"), []),
        ("ServiceMonitor", ("spec", "endpoints"), 3),
        ("ScaledObject", ("spec", "maxReplicaCount"), "many"),
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "threshold"), 2.4),
    ],
)
def test_a_value_of_the_wrong_type_is_found(kind, path, value):
    document = documents(PLANS["keda" if kind == "ScaledObject" else "hpa"])[kind]
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_the_operators_schemas_are_closed():
    for schema in operator_schemas().values():
        assert schema["additionalProperties"] is False


def test_pods_are_sized_as_measured():
    container = container_of(documents(PLANS["hpa"])["Deployment"])
    assert container["resources"]["requests"] == {"cpu": "6085m", "memory": "708Mi"}
    assert container["resources"]["limits"] == {"cpu": "7000m", "memory": "708Mi"}
    gib = container["args"][container["args"].index("--max-rss-gib") + 1]
    assert float(gib) * 1024 == pytest.approx(600, abs=1)


def test_one_scaler_counts_the_replicas_and_no_other():
    for scaler, kinds in (("hpa", {"HorizontalPodAutoscaler"}), ("keda", {"ScaledObject"}), ("none", set())):
        found = documents(PLANS[scaler])
        assert {"HorizontalPodAutoscaler", "ScaledObject"} & set(found) == kinds
        assert ("replicas" in found["Deployment"]["spec"]) == (scaler == "none")
    assert documents(PLANS["none"])["Deployment"]["spec"]["replicas"] == 2


def test_the_scalers_aim_at_the_plans_own_figures():
    hpa = documents(PLANS["hpa"])["HorizontalPodAutoscaler"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 5)
    assert hpa["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    keda = documents(PLANS["keda"])["ScaledObject"]["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (2, 5)
    assert [trigger["metadata"]["threshold"] for trigger in keda["triggers"]] == ["2.4", "24"]
    for trigger in keda["triggers"]:
        assert 'namespace="models",service="encoder"' in trigger["metadata"]["query"]


def test_a_pod_is_given_the_time_it_needs_to_drain():
    pod = documents(PLANS["hpa"])["Deployment"]["spec"]["template"]["spec"]
    container = container_of(documents(PLANS["hpa"])["Deployment"])
    forget_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(container["args"][container["args"].index("--drain-s") + 1])
    assert drain_s == 20.0
    assert pod["terminationGracePeriodSeconds"] > forget_s + drain_s


def test_names_ports_and_selectors_meet():
    found = documents(PLANS["hpa"])
    pod_labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selected in (found["Service"]["spec"]["selector"], found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"]):
        assert selected.items() <= pod_labels.items()
    assert found["ServiceMonitor"]["spec"]["selector"]["matchLabels"].items() <= found["Service"]["metadata"]["labels"].items()
    container = container_of(found["Deployment"])
    (port,) = container["ports"]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert found["ServiceMonitor"]["spec"]["endpoints"][0]["port"] == found["Service"]["spec"]["ports"][0]["name"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
    assert container["args"][container["args"].index("--port") + 1] == str(port["containerPort"])


def test_nobody_is_root():
    pod = documents(PLANS["hpa"])["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_computed_number_says_where_it_comes_from():
    member = plugins.load(Renderer, "kubernetes_hpa")()
    text = yaml(member.render(plan(Load(peak_per_s=170.0))), "heading")
    (line,) = [line for line in text.splitlines() if "maxReplicas" in line]
    assert line.strip() == (
        "maxReplicas: 5  # a peak of 170/s at 40/s each: 20% of 50/s kept free; the bill's 120 ms of a vCPU a request"
    )


def test_a_gpu_is_asked_for_where_one_was_measured():
    from dataclasses import replace

    each = plan(deployment=replace(DEPLOYMENT, build=replace(DEPLOYMENT.build, device_kind="cuda")))
    document = documents(each)["Deployment"]
    validate(document)
    assert container_of(document)["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_a_pickle_is_trusted_only_where_the_artifact_is_one():
    assert "--trust" in container_of(documents(plan(pickled=True))["Deployment"])["args"]
    assert "--trust" not in container_of(documents(PLANS["hpa"])["Deployment"])["args"]
