"""Splits of real chips on the ground: 20 Sentinel-2 patches of which some overlap."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.overlap import overlapping, overlapping_groups
from geoseg.datasets.splits import _grids, resolve_split

KOREA = Path(__file__).resolve().parents[3] / "shared" / "data" / "sentinel2_korea"

pytestmark = pytest.mark.skipif(not KOREA.is_dir(), reason=f"{KOREA} is not there")


@pytest.mark.parametrize("rule", ["60/20/20", "blocks:5:60/20/20", "blocks:12:60/20/20"])
@pytest.mark.parametrize("seed", range(4))
def test_no_ground_is_on_both_sides(rule: str, seed: int) -> None:
    dataset = open_dataset(KOREA)
    grids = _grids(dataset)
    assert any(len(group) > 1 for group in overlapping_groups(grids))
    found = resolve_split(dataset, rule, seed)
    parts = [{pair.stem: grids[pair.stem] for pair in part} for part in (found.train, found.val, found.test)]
    assert sum(map(len, parts)) == len(dataset.pairs) and all(parts)
    assert not any(overlapping(one, other) for one in parts for other in parts if one is not other)
