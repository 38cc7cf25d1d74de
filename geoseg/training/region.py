"""Region terms: Dice and Lovász-softmax, which look at whole classes of a sample and not at pixels apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from geoseg.legend import NO_CLASS

RegionLoss = Literal["none", "dice", "lovasz"]


def region_sum(log_p: Tensor, index: Tensor, weights: Tensor, kind: RegionLoss) -> Tensor:
    """The sum over samples of a loss that is the mean over the classes which the sample shows.

    A loss a sample, so that samples add up whichever batch or device they are in. Each is between 0 and 1.

    Args:
        log_p: (N, K, H, W) log probabilities.
        index: (N, H, W) class indices of any integer dtype; NO_CLASS counts nowhere.
        weights: (K,) class weights; pixels of a class of weight 0 count nowhere. Otherwise classes are equal.
    """
    truth, counts = _one_hot(index, weights)
    p = log_p.exp().flatten(2) * counts
    shown = truth.any(2)
    losses = torch.where(shown, _KINDS[kind](p, truth), 0)
    return (losses.sum(1) / shown.sum(1).clamp(min=1)).sum()


def samples_that_count(index: Tensor, weights: Tensor) -> Tensor:
    """What ``region_sum`` is divided by: the number of samples that show a class."""
    return _one_hot(index, weights)[1].any(2).sum()


def _dice(p: Tensor, truth: Tensor) -> Tensor:
    """(N, K) 1 - 2 |p t| / (|p| + |t|) of probabilities and truth, both (N, K, P)."""
    both = (p * truth).sum(2)
    either = p.sum(2) + truth.sum(2)
    return 1 - 2 * both / either.clamp(min=1e-6)


def _lovasz(p: Tensor, truth: Tensor) -> Tensor:
    """(N, K) Lovász extension of 1 - IoU (Berman, Triki and Blaschko 2018, CVPR, eq. 8 and algorithm 1)."""
    errors, order = (truth.to(p.dtype) - p).abs().sort(dim=2, descending=True)
    truth = truth.gather(2, order)
    # As if the first pixels in this order were the wrong ones: what of the truth is still met, and the union then.
    met = truth.sum(2, keepdim=True) - truth.cumsum(2)
    union = truth.sum(2, keepdim=True) + (~truth).cumsum(2)
    loss = 1 - met / union
    steps = torch.diff(loss, dim=2, prepend=torch.zeros_like(loss[..., :1]))
    return (errors * steps.to(p.dtype)).sum(2)


_KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"dice": _dice, "lovasz": _lovasz}


def _one_hot(index: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K, P) bool truth, and (N, 1, P) bool where a pixel counts."""
    index = index.flatten(1)
    counts = index != NO_CLASS
    counts = counts & (weights[torch.where(counts, index, 0).long()] > 0)
    classes = torch.arange(len(weights), device=index.device).view(1, -1, 1)
    return (index[:, None] == classes) & counts[:, None], counts[:, None]
