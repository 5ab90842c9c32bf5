"""Before a model: equal requests answered once, like texts answered alike inside a budget, and what that saved."""

from farthing.caching.front import cached as cached
