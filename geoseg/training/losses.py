"""The losses of section 3.2, weighted cross-entropy and focal loss, and what training adds to them: all as sums and
the weights to divide them by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from geoseg.errors import UsageError
from geoseg.legend import NO_CLASS
from geoseg.training.region import RegionLoss, region_sum, samples_that_count


class LossSum(NamedTuple):
    """A loss before division, so that parts of a batch, on any number of devices, add up before they are divided."""

    total: Tensor
    """Sum over the pixels of w (1 - p)^gamma (-log p)."""
    weight: Tensor
    """Sum over the pixels of w, whatever gamma is: the focal factor itself does not normalise."""

    def mean(self) -> Tensor:
        """total / weight; 0, still part of the graph, where no pixel counts."""
        return self.total / self.weight.clamp(min=torch.finfo(self.weight.dtype).tiny)


@dataclass(frozen=True)
class Objective:
    """What training makes small: the pixels' loss, and beside it a region term or none."""

    weights: Tensor
    """(K,) class weights."""
    gamma: float = 0.0
    """As ``loss_sum`` takes it."""
    region: RegionLoss = "none"

    def divisors(self, index: Tensor) -> Tensor:
        """(1,) or (2,): what each term of ``sums`` is divided by, a function of the labels (N, H, W) alone.

        Those of several batches, on any number of devices, add up.
        """
        pixels = weight_sum(index, self.weights)
        if self.region == "none":
            return pixels[None]
        return torch.stack([pixels, samples_that_count(index, self.weights).to(pixels.dtype)])

    def sums(self, logits: Tensor, index: Tensor) -> Tensor:
        """(1,) or (2,): the pixels' loss and the region term, summed, of logits (N, K, H, W)."""
        log_p = _log_softmax(logits)
        pixels = loss_sum_of_log_p(log_p, index, self.weights, self.gamma).total
        if self.region == "none":
            return pixels[None]
        return torch.stack([pixels, region_sum(log_p, index, self.weights, self.region)])


def loss_sum(logits: Tensor, index: Tensor, weights: Tensor, gamma: float = 0.0) -> LossSum:
    """Weighted cross-entropy (gamma 0) or focal loss of softmax probabilities.

    Args:
        logits: (N, K, ...) of any floating dtype; computed in float32 at least.
        index: (N, ...) class indices of any integer dtype; NO_CLASS counts nowhere.
        weights: (K,) class weights; a class of weight 0 is not learned.
        gamma: 0, or at least 1. Between, the gradient is infinite where p reaches 1.
    """
    return loss_sum_of_log_p(_log_softmax(logits), index, weights, gamma)


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


def _log_softmax(logits: Tensor) -> Tensor:
    return F.log_softmax(logits if logits.dtype == torch.float64 else logits.float(), 1)


def _weigh(index: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    counts = index != NO_CLASS
    safe = torch.where(counts, index, 0).long()
    return safe, torch.where(counts, weights[safe], 0)


def require_gamma(gamma: float) -> None:
    """Raise UsageError for a gamma whose loss has no finite gradient everywhere."""
    if not (gamma == 0 or gamma >= 1):
        raise UsageError(f"the focusing parameter gamma is 0 or at least 1, got {gamma}")
