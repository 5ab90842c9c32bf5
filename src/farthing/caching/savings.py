"""What a cache saves in USD, and when it is switched off because it saves less than it costs."""

from dataclasses import dataclass, field

OFF_BELOW, ON_ABOVE = 1.0, 1.25  # saved USD per USD that looking costs; apart, so that noise at the margin does not flip it
WINDOW = 1_000  # requests that are judged together
LONGEST_PAUSE = 64  # windows between two trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a model call costs (by the artifact's own cost model), and a second of the core that looks things up."""

    usd_per_request: float
    usd_per_s: float

    def __post_init__(self) -> None:
        for name in ("usd_per_request", "usd_per_s"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} is {value}: give what it costs, in USD, 0 or more")


@dataclass(slots=True, kw_only=True)
class Savings:
    """Books of one cache. saved = hits x usd_per_request; spent = seconds of looking, keeping and shadowing x their price.

    After each window with saved < OFF_BELOW x spent it pauses: requests go straight to the model. After a pause it is tried
    again for two windows, of which the first only refills it; it stays on where saved >= ON_ABOVE x spent, else the pause
    doubles.
    """

    terms: Terms
    name: str = "cache"
    window: int = WINDOW
    hits: int = 0
    misses: int = 0
    skipped: int = 0  # requests while it was off
    shared: int = 0  # answered by the model call of an equal request under way: saved, but no hit
    seconds: float = 0.0
    shadow_calls: int = 0
    is_on: bool = True
    switched: int = 0
    why: str = "on: not judged yet"
    _hits: int = field(default=0, init=False)
    _requests: int = field(default=0, init=False)
    _usd: float = field(default=0.0, init=False)
    _refilling: bool = field(default=True, init=False)
    _trial: bool = field(default=False, init=False)
    _pause: int = field(default=1, init=False)

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def spent_usd(self) -> float:
        return self.seconds * self.terms.usd_per_s + self.shadow_calls * self.terms.usd_per_request

    @property
    def saved_usd(self) -> float:
        """Net of what it cost; negative where it lost money."""
        return (self.hits + self.shared) * self.terms.usd_per_request - self.spent_usd

    def looked(self, *, hit: bool) -> None:
        """One request was looked up."""
        self.hits += hit
        self.misses += not hit
        self._hits += hit
        self._requests += 1
        if self._requests >= self.window:
            self._judge()

    def took(self, seconds: float) -> None:
        self.seconds += seconds
        self._usd += seconds * self.terms.usd_per_s

    def shadowed(self) -> None:
        """A hit asked the model all the same."""
        self.shadow_calls += 1
        self._usd += self.terms.usd_per_request

    def passed(self) -> None:
        """One request went by while it is off."""
        self.skipped += 1
        self._requests += 1
        if self._requests >= self.window * self._pause:
            self.is_on, self._trial, self._refilling = True, True, True
            self.switched += 1
            self.why = f"{self.name} on trial after {self._requests} requests without it"
            self._restart()

    def _judge(self) -> None:
        """A cache that has just begun to fill is not judged by its first window."""
        if self._refilling:
            self._refilling = False
            self._restart()
            return
        saved, spent = self._hits * self.terms.usd_per_request, self._usd
        enough = saved >= (ON_ABOVE if self._trial else OFF_BELOW) * spent
        told = f"of {self._requests} requests {self._hits} hit: saved {saved:.3g} USD, looking cost {spent:.3g} USD"
        if enough:
            self._pause, self._trial = 1, False
            self.why = f"{self.name} on: {told}"
        else:
            self._pause = min(LONGEST_PAUSE, 2 * self._pause) if self._trial else 1
            self.is_on, self._trial = False, False
            self.switched += 1
            self.why = f"{self.name} off for {self.window * self._pause} requests: {told}"
        self._restart()

    def _restart(self) -> None:
        self._hits = self._requests = 0
        self._usd = 0.0
