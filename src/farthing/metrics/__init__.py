"""The open set of metrics, and how a floor names one."""

import dataclasses
from functools import cache

from farthing import plugins
from farthing.errors import JobError
from farthing.metrics.base import Metric
from farthing.types import MemberRef


@cache
def metric_of(name: str) -> Metric:
    """The metric that a floor names: "accuracy", "ndcg@10" (the value of its first knob), or "package.module:function".

    Raises JobError, with the nearest spelling or the value that was expected behind the @.
    """
    if ":" in name:
        return plugins.make(Metric, MemberRef(name="function", knobs=(("path", name),)))
    member, at, text = name.partition("@")
    fields = dataclasses.fields(plugins.load(Metric, member))  # type: ignore[arg-type]
    if at and not fields:
        raise JobError(f"metric {name!r}: {member} has no knob, so nothing may stand behind an @. Write {member!r}")
    if not at:
        if fields and fields[0].default is dataclasses.MISSING:
            raise JobError(f"metric {name!r}: name the {fields[0].name} itself, as package.module:function")
        return plugins.make(Metric, MemberRef(name=member))
    kind: type = type(fields[0].default)
    try:
        value = kind(text)
    except ValueError as error:
        raise JobError(f"metric {name!r}: behind the @ stands {fields[0].name} ({kind.__name__}), not {text!r}") from error
    return plugins.make(Metric, MemberRef(name=member, knobs=((fields[0].name, value),)))
