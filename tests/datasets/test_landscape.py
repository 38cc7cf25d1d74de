"""The synthetic landscape: shares of the classes, and how land is given to them."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.datasets.landscape import BARREN, FOREST, RANGELAND, URBAN, WATER, claim, draw_land


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize("shape", [(32, 32), (33, 90), (128, 40)])
def test_land_has_the_shape_and_the_classes_asked_for(rng, shape):
    shares = {URBAN: 0.2, RANGELAND: 0.0, FOREST: 0.3, WATER: 0.1, BARREN: 0.0}
    picture, index, sun = draw_land(shape, shares, rng)
    assert picture.shape == (*shape, 3) and picture.dtype == np.float32 and np.isfinite(picture).all()
    assert index.shape == shape and index.dtype == np.uint8
    assert not np.isin(index, (RANGELAND, BARREN)).any() and (index == FOREST).mean() == pytest.approx(0.3, abs=0.05)
    assert sun.shape == (2,)


def test_claim_takes_the_best_of_what_is_free(rng):
    score, free = rng.random((20, 20)), rng.random((20, 20)) < 0.5
    mask = claim(score, free, 0.1)
    assert mask.sum() == 40 and not (mask & ~free).any()
    assert score[mask].min() > score[free & ~mask].max()
    assert not claim(score, free, 0).any() and np.array_equal(claim(score, free, 0.9), free)
