"""The container file: order of its steps, what is installed, and that its checks can say no."""

import json
import re
import subprocess

import pytest

from farthing.renderers.container import Container, requirements
from farthing.testing.renderers import plan


def steps(each):
    """(instruction, rest) with continued lines joined and the inline file left out."""
    text = re.sub(r"COPY <<EOF (\S+)\n.*?\nEOF", r"COPY inline \1", Container().render(each), flags=re.DOTALL)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(" ", 1)) for line in lines]


def test_what_was_loaded_is_installed_in_that_version_and_nothing_else():
    each = plan(
        versions={"python": "3.11.7", "farthing": "0.1.0", "setuptools": "84.2", "torch": "2.13.0+cpu", "numpy": "2.4.6"}
    )
    assert requirements(each) == ["numpy==2.4.6", "torch==2.13.0"]


def test_torch_is_not_spoken_of_where_it_is_not_needed():
    assert "torch" not in Container().render(plan()).lower()
    assert "TORCH_INDEX" in Container().render(plan(needs_torch=True))


def test_two_stages_of_which_the_second_runs_without_root():
    found = steps(plan())
    starts = [number for number, (word, _) in enumerate(found) if word == "FROM"]
    assert len(starts) == 2
    assert all(found[start][1].startswith("python:3.11.7-slim") for start in starts)
    last = found[starts[1] :]
    assert not [rest for word, rest in last if word == "RUN"], "nothing is run in the image itself"
    assert {rest.split()[0] for word, rest in last if word == "COPY"} == {"--from=made"}
    (user,) = [rest for word, rest in last if word == "USER"]
    assert int(user.split(":")[0]) > 0


def test_the_entry_point_is_a_process_that_hears_sigterm():
    (entry,) = [json.loads(rest) for word, rest in steps(plan()) if word == "ENTRYPOINT"]
    (more,) = [json.loads(rest) for word, rest in steps(plan()) if word == "CMD"]
    assert entry[:3] == ["/venv/bin/farthing", "serve", "/artifact"]
    assert entry[entry.index("--drain-s") + 1] == "20"
    assert more == ["--replicas", "2"]
    assert "--trust" not in entry
    assert "--trust" in next(json.loads(rest) for word, rest in steps(plan(pickled=True)) if word == "ENTRYPOINT")


@pytest.mark.parametrize("changed", [False, True])
def test_a_changed_manifest_fails_the_build(tmp_path, changed):
    """The check's own line, run here on a folder in the artifact's place."""
    import hashlib

    (tmp_path / "manifest.json").write_text("{}")
    (check,) = [rest for word, rest in steps(plan(manifest_sha256=hashlib.sha256(b"{}").hexdigest())) if "sha256sum" in rest]
    if changed:
        (tmp_path / "manifest.json").write_text("{ }")
    command = check.split("&&")[0].replace("/artifact/", f"{tmp_path}/")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode != 0) == changed
