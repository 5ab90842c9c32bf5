"""Data of the demo: the paragraphs of Python's own reference, which every Python carries."""

import re

MIN_WORDS = 5  # what is shorter is a heading or a line of grammar


def paragraphs() -> dict[str, list[str]]:
    """The distinct paragraphs of `pydoc_data.topics`, white space made plain, in order."""
    from pydoc_data.topics import topics

    texts = (" ".join(block.split()) for topic in topics.values() for block in re.split(r"\n\s*\n", topic))
    return {"text": list(dict.fromkeys(text for text in texts if len(text.split()) >= MIN_WORDS))}
