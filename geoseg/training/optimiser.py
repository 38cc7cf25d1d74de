"""The optimiser, its learning rate at each step, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from geoseg.models.segmenter import Segmenter
from geoseg.training.settings import TrainingSettings

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
BASE_RATE = "base_lr"
"""In each group of parameters: its learning rate where the schedule is at its height."""


def build_optimiser(segmenter: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser over all parameters, in groups that share a learning rate and a decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in segmenter.named_parameters():
        encoder = name.startswith("network.encoder.") and settings.encoder_lr is not None
        decay = settings.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((settings.encoder_lr if encoder else settings.lr, decay), []).append(parameter)
    made = [
        {"params": parameters, "lr": rate, BASE_RATE: rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return OPTIMISERS[settings.optimizer](made)


def set_rate(optimiser: torch.optim.Optimizer, settings: TrainingSettings, step: int, steps: int) -> None:
    """Give every group its learning rate in the step number ``step`` of ``steps``, from 0."""
    share = rate_share(settings, step, steps)
    for group in optimiser.param_groups:
        group["lr"] = group[BASE_RATE] * share


def rate_share(settings: TrainingSettings, step: int, steps: int) -> float:
    """The learning rate of a step as a share of the highest: linear in the warm-up, then the schedule."""
    warmup = round(settings.warmup * steps) if settings.warmup < 1 else round(settings.warmup)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as named tensors; its learning rates are functions of the step."""
    state = optimiser.state_dict()["state"]
    return {
        f"optimiser.{number}.{key}": value.cpu().contiguous()
        for number, values in state.items()
        for key, value in values.items()
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Read back what ``optimiser_tensors`` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, key = name.split(".")
            state.setdefault(int(number), {})[key] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


class MovingAverage:
    """The exponential moving average of a segmenter's weights, as a segmenter of its own.

    Batch norms' running means and variances are averaged like the weights, since they are of those weights; counters
    are copied. The decay of step t, from 0, is min(decay, (1 + t) / (10 + t)), so that the start is soon forgotten.
    """

    PREFIX = "average."

    def __init__(self, segmenter: Segmenter, decay: float) -> None:
        self.decay = decay
        self.segmenter = copy.deepcopy(segmenter).requires_grad_(False)

    @torch.no_grad()
    def update(self, segmenter: Segmenter, step: int) -> None:
        """Take in the weights as they are after the step number ``step``, from 0."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for mine, value in zip(self.segmenter.state_dict().values(), segmenter.state_dict().values(), strict=True):
            mine.lerp_(value, share) if mine.is_floating_point() else mine.copy_(value)

    def tensors(self) -> dict[str, Tensor]:
        """The average as named tensors."""
        state = self.segmenter.state_dict()
        return {self.PREFIX + name: value.detach().cpu().contiguous() for name, value in state.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Read back what ``tensors`` gave."""
        mine = {n.removeprefix(self.PREFIX): t for n, t in tensors.items() if n.startswith(self.PREFIX)}
        self.segmenter.load_state_dict(mine)
