"""A random forest of scikit-learn, fitted on one half of its bundled digits, a column for each pixel."""

from typing import Any

import numpy as np

NUM_TREES = 100


def held_out() -> dict[str, Any]:
    """The other half: `pixel_0` to `pixel_63`, and `digit`."""
    _, _, pixels, digits = _halves()
    return {f"pixel_{i}": pixels[:, i] for i in range(pixels.shape[1])} | {"digit": digits}


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    pixels, digits, _, _ = _halves()
    return RandomForestClassifier(NUM_TREES, random_state=0).fit(pixels, digits)


def _halves() -> tuple[Any, ...]:
    """Pixels and digits to fit on, then those that are held out."""
    from sklearn.datasets import load_digits

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    fit, rest = order[: len(order) // 2], order[len(order) // 2 :]
    return pixels[fit].astype(np.float32), digits[fit], pixels[rest].astype(np.float32), digits[rest]
