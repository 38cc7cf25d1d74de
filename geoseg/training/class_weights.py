"""Class weights from class frequencies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.errors import InputError


def median_frequency_weights(shares: Sequence[float] | np.ndarray, ignored: Sequence[int] = ()) -> np.ndarray:
    """Weights w_c = median(f) / f_c (the paper's section 3.2), f the frequencies of the classes in the training pixels.

    Args:
        shares: (K,) frequencies or counts on any common scale; a class that never occurs has 0.
        ignored: indices of classes that are neither in the median nor learned.

    Returns (K,) float64; 0 for ignored classes and for those that never occur.
    Raises InputError where fewer than one class occurs, or for negative or non-finite shares.
    """
    shares = np.asarray(shares, dtype=np.float64)
    if shares.ndim != 1 or not np.isfinite(shares).all() or (shares < 0).any():
        raise InputError(f"class shares are one finite number >= 0 a class, got {shares.tolist()}")
    used = shares > 0
    used[list(ignored)] = False
    if not used.any():
        raise InputError("no class that is not ignored occurs: there is nothing to weight")
    weights = np.zeros_like(shares)
    weights[used] = np.median(shares[used]) / shares[used]
    return weights


def class_weights(kind: str, shares: Sequence[float] | np.ndarray, ignored: Sequence[int] = ()) -> np.ndarray:
    """Weights in the loss: "median" as above, "sqrt" the roots of those, "none" 1 for each class that occurs."""
    weights = median_frequency_weights(shares, ignored)
    if kind == "median":
        return weights
    return np.sqrt(weights) if kind == "sqrt" else (weights > 0).astype(np.float64)
