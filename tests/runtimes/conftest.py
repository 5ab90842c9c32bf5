"""Samples in a form, converted once for all tests of this folder."""

from collections.abc import Callable

import pytest

from farthing.testing import samples
from farthing.types import Pipeline

Made = Callable[[str, str], Pipeline]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    cache: dict[tuple[str, str], Pipeline] = {}

    def make(name: str, form: str) -> Pipeline:
        if (name, form) not in cache:
            cache[name, form] = samples.in_form(name, form, tmp_path_factory.mktemp(f"{name}_{form}"))
        return cache[name, form]

    return make
