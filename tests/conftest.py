"""What every test may use: a state folder of its own, so that no test reads or spends what is the user's."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("FARTHING_HOME", str(tmp_path_factory.mktemp("state")))
    yield
    patch.undo()
