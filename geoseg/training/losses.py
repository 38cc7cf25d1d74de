"""The losses of section 3.2: weighted cross-entropy and focal loss, as sums and the weights to divide them by."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.errors import UsageError
from geoseg.legend import NO_CLASS


class LossSum(NamedTuple):
    """A loss before division, so that parts of a batch, on any number of devices, add up before they are divided."""

    total: Tensor
    """Sum over the pixels of w (1 - p)^gamma (-log p)."""
    weight: Tensor
    """Sum over the pixels of w, whatever gamma is: the focal factor itself does not normalise."""

    def mean(self) -> Tensor:
        """total / weight; 0, still part of the graph, where no pixel counts."""
        return self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)


def loss_sum(logits: Tensor, index: Tensor, weights: Tensor, gamma: float = 0.0) -> LossSum:
    """Weighted cross-entropy (gamma 0) or focal loss of softmax probabilities.

    Args:
        logits: (N, K, ...) of any floating dtype; computed in float32 at least.
        index: (N, ...) class indices of any integer dtype; NO_CLASS counts nowhere.
        weights: (K,) class weights; a class of weight 0 is not learned.
        gamma: 0, or at least 1. Between, the gradient is infinite where p reaches 1.
    """
    log_p = F.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), 1)
    return loss_sum_of_log_p(log_p, index, weights, gamma)


def loss_sum_of_log_p(log_p: Tensor, index: Tensor, weights: Tensor, gamma: float = 0.0) -> LossSum:
    """As ``loss_sum``, from log probabilities (N, K, ...)."""
    require_gamma(gamma)
    safe, weight = _weigh(index, weights.to(log_p.dtype))
    log_p_true = log_p.gather(1, safe.unsqueeze(1)).squeeze(1)
    per_pixel = -weight * log_p_true
    if gamma:
        # 1 - p without cancellation where p is close to 1.
        per_pixel = per_pixel * (-torch.expm1(log_p_true)).clamp(min=0).pow(gamma)
    return LossSum(per_pixel.sum(), weight.sum())


def weight_sum(index: Tensor, weights: Tensor) -> Tensor:
    """What ``loss_sum`` gives as ``weight``: it depends on the labels alone, so it is known before the forward pass."""
    return _weigh(index, weights)[1].sum()


def _weigh(index: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    counts = index != NO_CLASS
    safe = torch.where(counts, index, 0).long()
    return safe, torch.where(counts, weights[safe], 0)


def require_gamma(gamma: float) -> None:
    """Raise UsageError for a gamma whose loss has no finite gradient everywhere."""
    if not (gamma == 0 or gamma >= 1):
        raise UsageError(f"the focusing parameter gamma is 0 or at least 1, got {gamma}")
