"""Region terms: hand-worked values, the definition of Lovász-softmax on whole labels, and what counts nowhere."""

from __future__ import annotations

import pytest
import torch

from geoseg.legend import NO_CLASS
from geoseg.training.losses import LossSum, Objective, loss_sum
from geoseg.training.region import region_sum, samples_that_count

WEIGHTS = torch.tensor([1.0, 0.2, 3.0, 0.0], dtype=torch.float64)


def random_case(samples: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 4, 5, 7) float64 logits; index with NO_CLASS and with class 3, whose weight is 0."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, 4, 5, 7, generator=random, dtype=torch.float64)
    index = torch.randint(0, 5, (samples, 5, 7), generator=random).to(torch.uint8)
    return logits.requires_grad_(), torch.where(index == 4, NO_CLASS, index)


def region(p: list[list[float]], index: list[int], kind: str) -> float:
    """Of one sample of a row of pixels, whose probabilities are given pixel by pixel."""
    log_p = torch.tensor(p, dtype=torch.float64).T.log()[None, :, None]
    weights = torch.ones(len(p[0]), dtype=torch.float64)
    return region_sum(log_p, torch.tensor([[index]]), weights, kind).item()


def test_dice_by_hand():
    # Class 0: 2 x .8 / (1.2 + 1); class 1: 2 x (.6 + 1) / (1.8 + 2); the last pixel counts nowhere.
    p = [[0.8, 0.2], [0.4, 0.6], [0.0, 1.0], [0.9, 0.1]]
    expected = 1 - (1.6 / 2.2 + 3.2 / 3.8) / 2
    assert region(p, [0, 1, 1, NO_CLASS], "dice") == pytest.approx(expected)


def test_lovasz_by_hand():
    # Errors of class 1, largest first: .4 (true), .2 (not), 0 (true). IoU when the first ones are wrong: 1/2, 1/3, 0.
    p = [[0.8, 0.2], [0.4, 0.6], [1e-300, 1.0]]
    one = 0.4 * 1 / 2 + 0.2 * (2 / 3 - 1 / 2)
    # Class 0: .4 (not), .2 (true), 0 (not): 1/2, 0.
    zero = 0.4 * 1 / 2 + 0.2 * (1 - 1 / 2)
    assert region(p, [0, 1, 1], "lovasz") == pytest.approx((one + zero) / 2)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
@pytest.mark.parametrize(("found", "loss"), [([0, 1, 1], 0.0), ([1, 0, 0], 1.0)])
def test_from_0_where_all_is_right_to_1_where_all_is_wrong(kind, found, loss):
    p = [[1 - 1e-12, 1e-12] if k == 0 else [1e-12, 1 - 1e-12] for k in found]
    assert region(p, [0, 1, 1], kind) == pytest.approx(loss, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_lovasz_of_certain_labels_is_one_less_the_mean_iou(seed):
    """The extension meets the Jaccard loss at the corners of the cube (Berman et al. 2018, section 2.2)."""
    random = torch.Generator().manual_seed(seed)
    truth, found = torch.randint(0, 3, (2, 1, 37), generator=random)
    log_p = torch.full((1, 3, 1, 37), -1e9, dtype=torch.float64).scatter(1, found[None, None], 0.0)
    ious = [((truth == k) & (found == k)).sum() / ((truth == k) | (found == k)).sum() for k in truth.unique()]
    loss = region_sum(log_p, truth[None], torch.ones(3, dtype=torch.float64), "lovasz")
    assert loss.item() == pytest.approx(1 - torch.stack(ious).double().mean().item())


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_pixels_without_a_class_or_of_weight_0_change_nothing(kind):
    logits, index = random_case()
    region_sum(logits.log_softmax(1), index, WEIGHTS, kind).backward()
    nowhere = ((index == NO_CLASS) | (index == 3))[:, None].expand_as(logits)
    assert not logits.grad[nowhere].any() and logits.grad[~nowhere].any()
    moved = torch.where(nowhere, 7.0, logits.detach())
    same = region_sum(logits.log_softmax(1), index, WEIGHTS, kind)
    # Softmax is of a pixel, so that logits there are free; the log keeps rounding apart.
    assert torch.allclose(region_sum(moved.log_softmax(1), index, WEIGHTS, kind), same, atol=1e-12)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_gradient(kind):
    logits, index = random_case(seed=1)
    assert torch.autograd.gradcheck(lambda x: region_sum(x.log_softmax(1), index, WEIGHTS, kind), logits)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_samples_add_up(kind):
    logits, index = random_case(3)
    log_p = logits.log_softmax(1)
    apart = sum(region_sum(log_p[i : i + 1], index[i : i + 1], WEIGHTS, kind) for i in range(3))
    assert torch.allclose(region_sum(log_p, index, WEIGHTS, kind), apart)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_a_sample_without_a_class_counts_nowhere(kind):
    logits, index = random_case()
    index[1] = NO_CLASS
    assert samples_that_count(index, WEIGHTS) == 1
    value = region_sum(logits.log_softmax(1), index, WEIGHTS, kind)
    alone = region_sum(logits[:1].log_softmax(1), index[:1], WEIGHTS, kind)
    assert torch.allclose(value, alone)
    value.backward()
    assert not logits.grad[1].any() and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", ["none", "dice", "lovasz"])
def test_the_objective_is_the_mean_of_the_pixels_and_that_of_the_samples(kind):
    logits, index = random_case(3)
    objective = Objective(WEIGHTS, 0.0, kind)
    sums, divisors = objective.sums(logits, index), objective.divisors(index)
    expected = loss_sum(logits, index, WEIGHTS).mean()
    if kind != "none":
        expected = expected + region_sum(logits.log_softmax(1), index, WEIGHTS, kind) / 3
    assert torch.allclose(LossSum(sums, divisors).mean().sum(), expected, atol=1e-12)
    parts = torch.stack([objective.divisors(index[i : i + 1]) for i in range(3)]).sum(0)
    assert torch.allclose(parts, divisors)
