"""Losses: the reference vector, torch as oracle, and silence where nothing is to be learned."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from geoseg.errors import UsageError
from geoseg.legend import NO_CLASS
from geoseg.training.losses import LossSum, loss_sum, loss_sum_of_log_p

# research/science.md, E2: five pixels of seven classes, the weights of the paper's Table 1.
LOGITS = [
    [2, 0, -1, 0.5, 0, 1, 0],
    [0, 3, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 1],
    [-2, 0, 0, 0, 4, 0, 5],
    [0.2, 0.1, 0, -0.1, -0.2, -0.3, 0.9],
]
INDEX = [0, 2, 5, 4, 6]
WEIGHTS = [9.84 / 11.04, 9.84 / 57.35, 9.84 / 8.26, 9.84 / 11.54, 9.84 / 3.11, 9.84 / 8.64, 0.0]


def vector(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    logits = torch.tensor(LOGITS, dtype=dtype).T[None, :, None]
    return logits, torch.tensor(INDEX, dtype=torch.uint8)[None, None], torch.tensor(WEIGHTS, dtype=dtype)


def random_case(seed: int = 0, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(2, 7, 5, 6) float64 logits, index with NO_CLASS and class 6, weights with class 6 at 0."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 7, 5, 6, generator=random, dtype=torch.float64) * spread
    index = torch.randint(0, 9, (2, 5, 6), generator=random)
    index = torch.where(index > 6, NO_CLASS, index)
    return logits.requires_grad_(), index, torch.tensor(WEIGHTS, dtype=torch.float64)


@pytest.mark.parametrize(
    ("gamma", "total", "mean"), [(0.0, 10.9587723845, 1.7162062075), (2.0, 7.6762954438, 1.2021516123)]
)
def test_reference_vector(gamma, total, mean):
    sums = loss_sum(*vector(), gamma)
    assert sums.total.item() == pytest.approx(total, abs=1e-9)
    assert sums.weight.item() == pytest.approx(sum(WEIGHTS[i] for i in INDEX))
    assert sums.mean().item() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_an_ignored_index_is_as_good_as_a_weight_of_zero(gamma):
    logits, index, weights = vector()
    without = torch.where(index == 6, NO_CLASS, index)
    assert loss_sum(logits, without, weights, gamma).mean() == loss_sum(logits, index, weights, gamma).mean()


@pytest.mark.parametrize("seed", range(3))
def test_gamma_zero_is_torchs_weighted_cross_entropy(seed):
    logits, index, weights = random_case(seed)
    expected = F.cross_entropy(logits, index, weights, ignore_index=NO_CLASS)
    assert torch.allclose(loss_sum(logits, index, weights).mean(), expected, atol=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 5.0])
def test_focal_loss_by_its_formula(gamma):
    logits, index, weights = random_case()
    counts = index != NO_CLASS
    p = logits.softmax(1).movedim(1, -1)[counts]
    true = p[torch.arange(len(p)), index[counts]]
    expected = (weights[index[counts]] * (1 - true) ** gamma * -true.log()).sum()
    assert torch.allclose(loss_sum(logits, index, weights, gamma).total, expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0])
def test_gradient_is_that_of_the_value(gamma):
    logits, index, weights = random_case()
    assert torch.autograd.gradcheck(lambda x: loss_sum(x, index, weights, gamma).mean(), logits)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_pixels_that_do_not_count_have_no_gradient(gamma):
    logits, index, weights = random_case()
    loss_sum(logits, index, weights, gamma).mean().backward()
    silent = (index == NO_CLASS) | (index == 6)
    gradient = logits.grad.movedim(1, -1)
    assert silent.any() and (gradient[silent] == 0).all() and (gradient[~silent] != 0).all()


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_logits_of_pixels_that_do_not_count_change_nothing(gamma):
    logits, index, weights = random_case()
    silent = ((index == NO_CLASS) | (index == 6))[:, None]
    other = torch.where(silent, logits.detach() * -7 + 3, logits.detach())
    before, after = (loss_sum(x, index, weights, gamma) for x in (logits, other))
    assert before.total == after.total and before.weight == after.weight


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("silent", [NO_CLASS, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_batch_without_a_pixel_to_learn_is_zero_and_still_in_the_graph(gamma, silent, dtype):
    logits = torch.randn(1, 7, 3, 3, dtype=dtype, requires_grad=True)
    loss = loss_sum(logits, torch.full((1, 3, 3), silent), torch.tensor(WEIGHTS), gamma).mean()
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("size", [200.0, -200.0, 1e4])
def test_extreme_logits_stay_finite(gamma, size):
    logits = torch.zeros(1, 7, 1, 7)
    logits[0, range(7), 0, range(7)] = size
    logits.requires_grad_()
    for index in (torch.arange(7), torch.arange(7).flip(0)):
        loss = loss_sum(logits, index[None, None], torch.tensor(WEIGHTS), gamma).mean()
        gradient = torch.autograd.grad(loss, logits)[0]
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()


def test_sure_and_right_pixels_keep_their_precision():
    log_p = torch.tensor([-1e-9, -20.7]).view(1, 2, 1)
    loss = loss_sum_of_log_p(log_p, torch.zeros(1, 1, dtype=torch.long), torch.ones(2), 1.0).total
    assert loss.item() == pytest.approx(1e-18, rel=1e-3, abs=0)


@pytest.mark.parametrize("gamma", [0.5, 0.999, -1.0, float("nan")])
def test_a_gamma_without_a_finite_gradient_is_refused(gamma):
    with pytest.raises(UsageError, match="gamma is 0 or at least 1"):
        loss_sum(*vector(), gamma)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_parts_of_a_batch_add_up(gamma):
    logits, index, weights = random_case()
    halves = [loss_sum(logits[i : i + 1], index[i : i + 1], weights, gamma) for i in (0, 1)]
    together = LossSum(halves[0].total + halves[1].total, halves[0].weight + halves[1].weight)
    assert torch.allclose(together.mean(), loss_sum(logits, index, weights, gamma).mean())
    assert not torch.allclose((halves[0].mean() + halves[1].mean()) / 2, together.mean())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, index, weights = vector(torch.float32)
    half = loss_sum(logits.to(dtype), index, weights, 2.0)
    expected = loss_sum(logits.to(dtype).float(), index, weights, 2.0)
    assert half.total.dtype == torch.float32 and torch.equal(half.total, expected.total)


def test_log_probabilities_give_the_same_as_logits():
    logits, index, weights = random_case()
    direct = loss_sum(logits, index, weights, 2.0)
    of_log_p = loss_sum_of_log_p(logits.log_softmax(1), index, weights, 2.0)
    assert torch.equal(direct.total, of_log_p.total)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_dtype_of_the_index(dtype):
    logits, index, weights = vector()
    assert loss_sum(logits, index.to(dtype), weights).mean().item() == pytest.approx(1.7162062075, abs=1e-9)
