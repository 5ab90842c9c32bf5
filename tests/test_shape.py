"""The rules of the layout, checked: sizes, levels, names, first lines, and that the README's tree is the tree."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "farthing"
FILES = sorted(SOURCE.rglob("*.py"))
MOST_LINES = 400
SAYS_NOTHING = re.compile(r"(^|_)(utils?|common|helpers?|manager|handlers?|misc)(_|$)")
FORBIDDEN = re.compile(r"/(work|tmp|root|opt)/[A-Za-z0-9._-]+")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_a_file_is_short_says_what_it_is_for_and_has_a_name(file):
    text = file.read_text()
    assert len(text.splitlines()) <= MOST_LINES, "two ideas are in there: split it"
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "the first line of a file says what it is for"
    assert not SAYS_NOTHING.search(file.stem)


def test_two_levels_never_three():
    assert max(len(file.relative_to(SOURCE).parts) for file in FILES) == 2


def test_nothing_of_one_machine_stands_in_the_project():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = []
    for name in tracked:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".csv"} or name in {"Makefile", ".ci/run"}:
            found += [f"{name}: {match.group()}" for match in FORBIDDEN.finditer(path.read_text(errors="replace"))]
    assert not found


def test_the_readme_tree_is_the_tree():
    """One line a file or folder of src/farthing, in backticks or a code block, none missing and none invented."""
    block = re.search(r"```text\n(src/farthing/.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block, "README.md carries the file tree in a ```text block"
    told = {line.split()[0].rstrip("/") for line in block.group(1).splitlines()[1:] if line.strip()}
    there = {p.name for p in SOURCE.iterdir() if (p.is_dir() and (p / "__init__.py").exists()) or p.suffix == ".py"}
    assert told == there
