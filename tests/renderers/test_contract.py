"""Every renderer keeps the laws of the set."""

import pytest

from farthing import plugins
from farthing.renderers.base import Renderer
from farthing.testing.renderers import check_renderer


@pytest.mark.parametrize("name", plugins.names(Renderer))
def test_contract(name: str) -> None:
    check_renderer(plugins.load(Renderer, name)())


def test_no_two_members_write_the_same_file() -> None:
    members = [plugins.load(Renderer, name) for name in plugins.names(Renderer)]
    files = [(member.target, member.file) for member in members]
    assert len(set(files)) == len(files)
