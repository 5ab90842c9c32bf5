"""Small changes that turn a text's meaning while its embedding hardly moves: English, by rule."""

import json
import re
from pathlib import Path

WORDS = json.loads((Path(__file__).parent / "words.json").read_text())
NEGATIONS, TIMES = frozenset(WORDS["negations"]), frozenset(WORDS["times"])
NUMBERS: dict[str, str] = WORDS["numbers"]  # a word -> its digits
OPPOSITES: list[tuple[str, str]] = [(one, other) for one, other in WORDS["opposites"]]
ARTICLES = frozenset({"the", "my", "a", "an", "our", "your"})
SELF = ("i", "i'", "i’")  # the pronoun has a capital and is no name
WORD = re.compile(r"[^\W_]+(?:[.,:/'’-][^\W_]+)*")
ONE = frozenset({"1"})  # "one" is as often a pronoun: alone, it changes nothing


def refuses(one: str, other: str) -> str | None:
    """Why two like texts may not share an answer: negation, number, time, name, direction or an opposite; None: they may."""
    left, right = WORD.findall(one), WORD.findall(other)
    lower, lower_right = [w.casefold() for w in left], [w.casefold() for w in right]
    if _negations(lower) != _negations(lower_right):
        return "a negation"
    if (_numbers(lower) ^ _numbers(lower_right)) - ONE:
        return "a number"
    if (set(lower) ^ set(lower_right)) & TIMES:
        return "a time"
    if _names(left) - set(lower_right) or _names(right) - set(lower):
        return "a name"
    if _turned(lower, lower_right):
        return "a direction"
    return "an opposite" if _opposed(set(lower), set(lower_right)) else None


def _negations(words: list[str]) -> int:
    return sum(w.replace("'", "").replace("’", "") in NEGATIONS or w.endswith(("n't", "n’t")) for w in words)


def _numbers(words: list[str]) -> set[str]:
    """Digits, words of number, and everything with a digit in it: codes, dates, versions."""
    spelled = {NUMBERS[part] for word in words for part in word.split("-") if part in NUMBERS}
    return spelled | {word.replace(",", "") for word in words if any(c.isdigit() for c in word)}


def _names(words: list[str]) -> set[str]:
    """Words with a capital that does not come from beginning the text; none where all is in capitals."""
    if all(w.isupper() for w in words):
        return set()
    capital = [w for i, w in enumerate(words) if any(c.isupper() for c in (w[1:] if i == 0 else w))]
    return {w.casefold() for w in capital if not w.casefold().startswith(SELF[1:]) and w.casefold() != SELF[0]}


def _turned(one: list[str], other: list[str]) -> bool:
    """ "from a to b" against "from b to a"."""
    ends = [(_behind("from", words), _behind("to", words)) for words in (one, other)]
    (start, end), (other_start, other_end) = ends
    return start is not None and start != end and (start == other_end or (end is not None and end == other_start))


def _behind(word: str, words: list[str]) -> str | None:
    rest = words[words.index(word) + 1 :] if word in words else []
    return next((w for w in rest if w not in ARTICLES), None)


def _opposed(one: set[str], other: set[str]) -> bool:
    only_one, only_other = one - other, other - one
    return any((a in only_one and b in only_other) or (b in only_one and a in only_other) for a, b in OPPOSITES)
