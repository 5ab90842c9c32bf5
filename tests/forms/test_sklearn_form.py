"""skops files: the same bytes in any process, and nothing loaded that was not there at the snapshot."""

import subprocess
import sys
from pathlib import Path

import pytest
import skops.io

from farthing.errors import ModelError
from farthing.forms import sklearn_form
from farthing.testing import samples

DIGEST_CODE = """
import hashlib, sys
from pathlib import Path
from farthing.forms import sklearn_form
from farthing.testing.samples import estimator
filler = [object() for _ in range(int(sys.argv[2]))]
sklearn_form.snapshot(estimator("logistic"), Path(sys.argv[1]))
print(hashlib.sha256((Path(sys.argv[1]) / sklearn_form.FILE).read_bytes()).hexdigest())
"""


def test_equal_estimators_give_equal_bytes_in_any_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DIGEST_CODE, str(tmp_path)]
    digests = {subprocess.run([*command, n], capture_output=True, text=True, check=True).stdout for n in ("1", "100000")}
    assert len(digests) == 1


def test_the_file_is_still_one_of_skops(tmp_path: Path) -> None:
    pipeline = samples.pipeline("forest", tmp_path / "model")
    types = skops.io.get_untrusted_types(file=pipeline.path)
    assert all(name.startswith("sklearn.") for name in types)
    read = skops.io.load(pipeline.path, trusted=types)
    assert read.get_params() == samples.estimator("forest").get_params()


def test_an_exchanged_file_is_refused(tmp_path: Path) -> None:
    pipeline = samples.pipeline("ridge", tmp_path / "model")
    skops.io.dump(subprocess.Popen, pipeline.path)
    with pytest.raises(ModelError, match=r"types that were not in it when it was snapshotted: subprocess\.Popen"):
        sklearn_form.load(pipeline)
