"""Learning rates, groups of parameters, and the moving average, worked by hand."""

from __future__ import annotations

import pytest
import torch

from geoseg.legend import DEEPGLOBE
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.training.optimiser import MovingAverage, build_optimiser, rate_share, set_rate
from geoseg.training.settings import TrainingSettings, resolve_settings


def segmenter(**config: object) -> Segmenter:
    return Segmenter(SegmenterConfig(DEEPGLOBE, **({"width": 2, "norm": "batch"} | config)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 1, 1, 1, 1, 1, 1, 1]),
        ({"warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"warmup": 0.5}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"schedule": "cosine"}, [1, 0.9619398, 0.8535534, 0.6913417, 0.5, 0.3086583, 0.1464466, 0.0380602]),
        ({"schedule": "cosine", "warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_the_share_of_the_learning_rate(options, expected):
    settings = TrainingSettings(**options)
    assert [rate_share(settings, step, 8) for step in range(8)] == pytest.approx(expected, abs=1e-7)


def test_the_rate_reaches_every_group_and_is_a_function_of_the_step():
    settings = TrainingSettings(encoder="test_resnet", lr=0.1, encoder_lr=0.01, warmup=4, weight_decay=0.3)
    optimiser = build_optimiser(segmenter(encoder="test_resnet"), settings)
    for step, share in ((3, 1.0), (0, 0.25), (0, 0.25)):
        set_rate(optimiser, settings, step, 8)
        rates = sorted({group["lr"] for group in optimiser.param_groups})
        assert rates == pytest.approx([0.01 * share, 0.1 * share])


def test_kernels_are_decayed_and_nothing_else():
    network = segmenter(encoder="test_resnet")
    settings = TrainingSettings(encoder="test_resnet", lr=0.1, encoder_lr=0.01, weight_decay=0.3, optimizer="adamw")
    optimiser = build_optimiser(network, settings)
    found = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    assert len(found) == len(list(network.parameters()))
    for name, parameter in network.named_parameters():
        group = found[id(parameter)]
        assert group["weight_decay"] == (0.3 if name.endswith("weight") and parameter.ndim == 4 else 0.0)
        assert group["lr"] == (0.01 if name.startswith("network.encoder.") else 0.1)
    assert isinstance(optimiser, torch.optim.AdamW)


def test_the_papers_optimiser_is_plain_adam():
    optimiser = build_optimiser(segmenter(), resolve_settings("baseline"))
    (group,) = optimiser.param_groups
    assert type(optimiser) is torch.optim.Adam
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-4, (0.9, 0.999), 0.0)


def test_the_average_forgets_its_start_first_and_takes_batch_norms_along():
    learned = segmenter()
    average = MovingAverage(learned, decay=0.5)
    expected = {name: value.clone().double() for name, value in learned.state_dict().items()}
    for step in range(40):
        with torch.no_grad():
            for value in learned.state_dict().values():
                value.add_(1 if value.dtype == torch.int64 else torch.randn_like(value))
        average.update(learned, step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in learned.state_dict().items():
            counter = value.dtype == torch.int64
            expected[name] = value if counter else decay * expected[name] + (1 - decay) * value.double()
    for name, value in average.segmenter.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-5, atol=1e-5)
    assert any("running_mean" in name for name in expected)
    assert not any(parameter.requires_grad for parameter in average.segmenter.parameters())
