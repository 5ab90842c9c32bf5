"""The steps that need a model in memory, as calls into a worker: the parent never imports torch or a runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farthing import plugins, transform
from farthing.diagnosis import diagnose, load_or_measure
from farthing.model_sources.base import ModelSource
from farthing.results import Device, Profile
from farthing.store import filling
from farthing.types import Build, Context, Feeds, MemberRef, Pipeline

State = dict[str, Any]


def snapshot(state: State, model: MemberRef, directory: Path, trust: bool) -> Pipeline:
    with filling(directory):
        return plugins.make(ModelSource, model).snapshot(directory, trust=trust)  # type: ignore[type-abstract]


def ceilings(state: State, cache: Path, device_kind: str) -> Device:
    """Raises BuildError where no installed library sees such a device."""
    return load_or_measure(cache, device_kind)


def diagnosis(
    state: State,
    original: Pipeline,
    requests: Sequence[tuple[Any, ...]],
    device: Device,
    calibration: Sequence[Feeds],
    **facts: Any,
) -> Profile:
    return diagnose(original, requests, device, calibration=calibration, **facts)


def build(state: State, original: Pipeline, wanted: Build, directory: Path, context: Context, cache: Path) -> Pipeline:
    with filling(directory):
        return transform.apply(original, wanted, directory, context, cache=cache, tell=state["tell"])
