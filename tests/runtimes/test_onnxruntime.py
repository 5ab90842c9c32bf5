"""Files that cannot be opened, inputs that cannot be run."""

import numpy as np
import pytest

from farthing.errors import BuildError
from farthing.runtimes.onnxruntime import OnnxRuntime

from .conftest import Made


def test_a_file_that_is_no_graph_is_named(made: Made) -> None:
    with pytest.raises(BuildError, match=r"ONNX Runtime cannot open module\.pkl"):
        OnnxRuntime().open(made("mlp", "torch"), threads=1, streams=1)


def test_inputs_that_do_not_fit_are_named(made: Made) -> None:
    session = OnnxRuntime().open(made("cnn", "onnx"), threads=1, streams=1)
    with pytest.raises(BuildError, match=r"ONNX Runtime failed on image \(1, 2\)"):
        session.run({"image": np.zeros((1, 2), np.float32)})


@pytest.mark.parametrize(("threads", "streams", "pool"), [(1, 3, 1), (2, 1, 2), (2, 2, 4)])
def test_the_pool_serves_all_streams(threads: int, streams: int, pool: int, made: Made) -> None:
    session = OnnxRuntime().open(made("cnn", "onnx"), threads=threads, streams=streams)
    options = session.session.get_session_options()
    assert options.intra_op_num_threads == pool
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
