"""Questions to a person: bad answers are asked again with what was wrong, no answer is the default, and it always ends."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from farthing.errors import FarthingError, JobError

T = TypeVar("T")
MAX_TRIES = 5  # at one question


class NoAnswer(JobError):
    """There is no use in asking on."""


@dataclass(frozen=True, slots=True)
class Talk:
    ask: Callable[[str], str]  # prompt -> what was typed; EOFError: nobody answers any more
    tell: Callable[[str], None]

    def put(self, question: str, parse: Callable[[str], T], default: str | None = None) -> T:
        """What `parse` makes of the answer; asked again where it raises a FarthingError. It may ask further questions.

        Raises NoAnswer where the answers end, or MAX_TRIES of them were of no use.
        """
        prompt = f"{question}: " if default is None else f"{question} [{default}]: "
        for _ in range(MAX_TRIES):
            try:
                answer = self.ask(prompt).strip() or default
            except EOFError as error:
                raise NoAnswer(
                    f"the answers ended at this question: {question}. Nothing was written. Answer on a terminal, or write the"
                    " file by hand: docs/job.md tells every key"
                ) from error
            if answer is None:
                self.tell("  This needs an answer.")
                continue
            try:
                return parse(answer)
            except NoAnswer:
                raise
            except FarthingError as error:
                self.tell(f"  {error}")
        raise NoAnswer(f"{MAX_TRIES} answers in a row were of no use to this question: {question}. Nothing was written")

    def choose(self, question: str, choices: Mapping[str, str], default: str | None = None) -> str:
        """One of `choices` (name -> what it is, in a line), by its name or number."""
        self.show(choices, numbered=True)
        return self.put(f"{question} (a name or its number)", lambda answer: one_of(answer, list(choices)), default)

    def show(self, lines: Mapping[str, str], *, numbered: bool = False) -> None:
        """One line each, the names in a column."""
        width = max(map(len, lines))
        for position, (name, line) in enumerate(lines.items(), start=1):
            self.tell(f"  {f'{position:>2}  ' if numbered else ''}{name:<{width}}  {line}".rstrip())


def one_of(answer: str, choices: Sequence[str]) -> str:
    """The choice of that name, or of that number counted from 1."""
    if answer.isdecimal() and answer not in choices and 1 <= int(answer) <= len(choices):
        return choices[int(answer) - 1]
    if answer not in choices:
        close = difflib.get_close_matches(answer, choices, n=1)
        raise JobError(f"{answer!r} is none of them.{f' Did you mean {close[0]!r}?' if close else ''}")
    return answer


def number(answer: str) -> float:
    """A number > 0: 0.01, 1%, 1e6, 1_000_000."""
    try:
        value = float(answer.removesuffix("%").strip()) / (100 if answer.endswith("%") else 1)
    except ValueError as error:
        hint = " Write it without commas: 1000000, 1_000_000 or 1e6." if "," in answer else ""
        raise JobError(f"{answer!r} is not a number, such as 0.05, 1% or 1e6.{hint}") from error
    if not 0 < value < math.inf:
        raise JobError(f"{answer!r}: expected a number > 0")
    return value


def whole(answer: str) -> int:
    """A whole number > 0, spelled in any of the ways of `number`."""
    value = number(answer)
    if not value.is_integer():
        raise JobError(f"{answer!r} is not a whole number")
    return int(value)


def yes(answer: str) -> bool:
    if answer.lower() not in ("y", "yes", "true", "n", "no", "false"):
        raise JobError(f"{answer!r}: expected yes or no")
    return answer.lower() in ("y", "yes", "true")
