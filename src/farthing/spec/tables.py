"""The tables of a job file that are not nouns of `types.py`, and the job before its data is read."""

from dataclasses import dataclass
from typing import Any

from farthing.types import Budget, Floor, MemberRef, Prices, Slo, Traffic

TABLES = ("model", "data", "floor", "traffic", "slo", "prices", "budget", "search")
OPTIONAL = frozenset({"slo", "budget", "search"})
SHIPPED_PRICES = "snapshot"  # the price table that is read where a sku is named without a source


@dataclass(frozen=True, slots=True, kw_only=True)
class TopTable:
    """What stands above the first table."""

    name: str | None = None  # default: the file's own
    seed: int = 0
    trust: bool = False  # code may be loaded from the model's own files (pickles)
    carry_sample: bool = True  # the artifact carries items of the verify split


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """[data], but for `source` and the keys of that source."""

    input: str | tuple[str, ...] | None = None  # one column for each input of the model
    features: str | tuple[str, ...] | None = None  # number columns (or patterns like "pixel_*") that make one input together
    label: str | None = None
    classes: tuple[str | float, ...] | None = None  # the label that each output of the model stands for, in order
    group: str | None = None  # rows of one value stay on one side
    pair: bool = False
    split: str | None = None  # a column that says train, calibrate, search or verify
    splits: dict[str, float] | None = None  # share of the rows by split
    limit: int | None = None  # take so many rows, by seed
    verify: dict[str, Any] | None = None  # another table of the same columns, which is the verify split

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input or ()

    @property
    def patterns(self) -> tuple[str, ...]:
        return (self.features,) if isinstance(self.features, str) else self.features or ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTable:
    """[search]: restrict it to these members; left out, all of them."""

    methods: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A job whose tables are checked and whose data is not read yet."""

    top: TopTable
    name: str
    model: MemberRef
    data: DataTable
    data_source: MemberRef | None  # None: live columns
    verify_source: MemberRef | None
    floors: tuple[Floor, ...]
    traffic: Traffic
    slo: Slo
    prices: Prices
    budget: Budget
    search: SearchTable

    @property
    def slices(self) -> tuple[str, ...]:
        """The columns that any floor slices by."""
        return tuple(dict.fromkeys(floor.slices for floor in self.floors if floor.slices is not None))
