"""Kubernetes' own schemas (kubernetes-validate) and those of two operators' resources (cloudcoil), offline."""

from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils

VERSIONS = ("1.30", "1.32", "1.34", "1.37")  # 1.30: the first that sleeps before it stops without being told to

utils.schema_contents = cache(utils.schema_contents)  # it reads megabytes each time


def validate(document: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError for an unknown or missing field, or a value of the wrong type."""
    if (schema := operator_schemas().get(document["apiVersion"])) is not None:
        jsonschema.Draft202012Validator(schema).validate(document)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


@cache
def operator_schemas() -> dict[str, Any]:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor

    return {
        "keda.sh/v1alpha1": closed(ScaledObject.model_json_schema(by_alias=True)),
        "monitoring.coreos.com/v1": closed(ServiceMonitor.model_json_schema(by_alias=True)),
    }


def closed(schema: Any) -> Any:
    """No field beyond those that the schema names."""
    if isinstance(schema, dict):
        shut = {key: closed(value) for key, value in schema.items()}
        named = "properties" in shut and shut.get("type") == "object"
        return shut | {"additionalProperties": False} if named else shut
    return [closed(item) for item in schema] if isinstance(schema, list) else schema
