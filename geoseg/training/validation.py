"""Validation: the whole scenes of a part of the split, predicted as always and compared with their labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geoseg.ahead import reader_threads
from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.samples import Samples
from geoseg.grid import Window
from geoseg.legend import NO_CLASS, Legend
from geoseg.models.segmenter import Segmenter
from geoseg.prediction.plan import make_plan
from geoseg.prediction.shard import decide, engine_of, scored_blocks
from geoseg.prediction.stitching import ScoredBlock
from geoseg.raster.scene import SceneLike
from geoseg.training.losses import LossSum, loss_sum_of_log_p
from geoseg.training.processes import ALONE, Processes

TAUS = 0.25, 0.5, 0.75, 1.0
"""Powers of the prior correction (geoseg.prediction.plan.resolve_prior) that are tried beside none."""


@dataclass(frozen=True)
class Validation:
    """What a validation found."""

    matrix: ConfusionMatrix
    """Pooled over the scenes, every pixel once."""
    loss: float
    """The training's loss of the stitched scores, over the scored classes only."""
    corrected: Mapping[float, ConfusionMatrix]
    """The same pixels where the scores were first divided by the class weights to the power tau, for each of TAUS."""

    @property
    def prior_tau(self) -> float:
        """The power, 0 among them, with the highest mean IoU; of equal ones the smallest."""
        found = {0.0: self.matrix, **self.corrected}
        return max(found, key=lambda tau: (np.nan_to_num(found[tau].mean_iou()), -tau))


def validate(
    segmenter: Segmenter,
    samples: Samples,
    weights: Tensor,
    gamma: float,
    precision: str,
    processes: Processes = ALONE,
) -> Validation:
    """Predict every scene of ``samples`` as ``geoseg predict`` does, at the resolution training sees.

    Each process predicts its share of the scenes; all find the same.
    """
    segmenter.eval()
    legend, config = segmenter.legend, segmenter.config
    trained = weights[list(legend.scored)]
    trained = torch.where(trained > 0, trained, 1.0)
    divisors = {0.0: None} | {tau: trained**tau for tau in TAUS}
    matrices = {tau: ConfusionMatrix.empty(len(legend), legend.ignored) for tau in divisors}
    totals = torch.zeros(2, dtype=torch.float64)
    window = config.size if samples.framing.whole else config.window
    options = {
        "window": window,
        "size": config.size,
        "device": str(segmenter.device),
        "precision": precision,
        "engine": "plain",
    }
    for number in processes.share(range(len(samples.scenes))):
        scene, read_index = samples.as_scene(number)
        for block in _predicted_blocks(scene, segmenter, options | {"stretch": samples.stretches[number]}):
            index = np.where(block.valid.cpu().numpy(), read_index(block.window), NO_CLASS).astype(np.uint8)
            for tau, divisor in divisors.items():
                found = decide(block, legend, divisor).bands[0].cpu().numpy()
                matrices[tau] += ConfusionMatrix.from_pair(index, found, len(legend), legend.ignored)
            totals += torch.stack(_loss_of(block, index, weights, gamma, legend)).double().cpu()
    matrices = {tau: _of_all(matrix, processes, segmenter.device) for tau, matrix in matrices.items()}
    totals = processes.add(totals.to(segmenter.device)).cpu()
    return Validation(matrices.pop(0.0), float(LossSum(*totals).mean()), matrices)


def _of_all(matrix: ConfusionMatrix, processes: Processes, device: torch.device) -> ConfusionMatrix:
    """The sum of the processes' matrices."""
    counts = processes.add(torch.tensor(matrix.counts, device=device))
    return replace(matrix, counts=counts.cpu().numpy())


def _predicted_blocks(scene: SceneLike, segmenter: Segmenter, options: dict[str, Any]) -> Iterator[ScoredBlock]:
    plan = make_plan(scene, segmenter, **options)
    engine = engine_of(plan, segmenter)
    with scene, reader_threads() as readers:
        for column in plan.columns:
            first, last = plan.shards[column[0]], plan.shards[column[-1]]
            part = Window(first.row, first.col, last.row_stop - first.row, first.width)
            yield from scored_blocks(plan, part, scene, engine, readers)


def _loss_of(block: ScoredBlock, index: np.ndarray, weights: Tensor, gamma: float, legend: Legend) -> LossSum:
    place = np.full(256, NO_CLASS, np.uint8)
    place[list(legend.scored)] = range(len(legend.scored))
    target = torch.from_numpy(place[index]).to(block.scores.device)
    log_p = (block.scores / block.scores.sum(0).clamp(min=1e-30)).clamp(min=1e-12).log()
    return loss_sum_of_log_p(log_p[None], target[None], weights[list(legend.scored)], gamma)
