"""What is written is what a YAML reader reads."""

import pytest
import yaml as reader
from hypothesis import given
from hypothesis import strategies as st

from farthing.rendering.yaml import yaml
from farthing.sizing import Reasoned

KEYS = st.text(min_size=1, max_size=20)  # YAML takes no key beyond 1,024 characters
plain = st.one_of(st.text(), st.integers(), st.booleans(), st.none())
trees = st.dictionaries(KEYS, st.recursive(plain, lambda t: st.lists(t) | st.dictionaries(KEYS, t), max_leaves=6))


@given(trees)
def test_reading_gives_what_was_written(tree):
    assert reader.safe_load(yaml(tree, "heading")) == (tree or None)


@pytest.mark.parametrize(
    "text", ["yes", "No", "null", "1e3", "0x1f", "1:30", "- a", "a: b", "#", "", " a", "a\nb", "2.4", "~", "y"]
)
def test_texts_stay_texts(text):
    assert reader.safe_load(yaml({"key": text, "list": [text]}, "heading")) == {"key": text, "list": [text]}


def test_reasons_become_comments_and_headings_cannot_break_out():
    text = yaml({"cpu": Reasoned(value="2", reason="2 threads")}, "first\nkind: Secret")
    assert text == '# first\n# kind: Secret\ncpu: "2"  # 2 threads\n'


def test_what_has_no_place_in_a_manifest_is_a_mistake_of_ours():
    with pytest.raises(AssertionError, match="has no place"):
        yaml({"key": object()}, "")
    with pytest.raises(AssertionError, match="has no place"):
        yaml({"key": 0.5}, "")
