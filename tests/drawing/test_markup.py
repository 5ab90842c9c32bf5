"""What is not ours is escaped, wherever it stands."""

import pytest

from farthing.drawing.markup import Safe, glossary, join, script_json, table, tag, term

HOSTILE = '</script><b title="x">&'


def test_text_is_escaped_and_markup_is_kept() -> None:
    assert tag("p", HOSTILE, tag("i", "ok")) == "<p>&lt;/script&gt;&lt;b title=&quot;x&quot;&gt;&amp;<i>ok</i></p>"
    assert join([Safe("<br>"), "<br>"]) == "<br>&lt;br&gt;"
    assert HOSTILE not in table((HOSTILE,), [(HOSTILE,)])


def test_attributes_are_escaped_and_their_names_are_those_of_html() -> None:
    assert tag("p", class_='a"b', data_tip="<", hidden=True, id=False) == '<p class="a&quot;b" data-tip="&lt;" hidden></p>'


def test_json_cannot_end_the_script_that_it_stands_in() -> None:
    assert script_json([HOSTILE, "<!--"]) == '["\\u003c/script>\\u003cb title=\\"x\\">&", "\\u003c!--"]'


def test_a_term_without_an_explanation_is_a_mistake() -> None:
    assert glossary()["p50"] in term("p50")
    with pytest.raises(KeyError):
        term("no such word")
