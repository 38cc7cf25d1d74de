"""Regions found tile by tile are those of the whole raster."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import shapes
from scipy.ndimage import generate_binary_structure
from scipy.ndimage import label as scipy_label

from geoseg.errors import ResourceError
from geoseg.grid import Grid
from geoseg.raster import regions as module
from geoseg.raster.areas import AreaTally
from geoseg.raster.regions import Regions, components, find_parts, label
from geoseg.tiling import blocks


def labelled(codes: np.ndarray, side: int, diagonal: bool = False, **options: object) -> tuple[Regions, np.ndarray]:
    """The regions of an array and (H, W) the region of each pixel."""
    tiles = blocks(codes.shape, side)
    found = Regions(find_parts(lambda w: codes[w.slices], codes.shape, tiles, diagonal, **options), diagonal)
    of_pixels = np.empty(codes.shape, np.int32)
    for number, window in enumerate(tiles):
        of_pixels[window.slices] = found.of_tile(number)[label(codes[window.slices])[0]]
    return found, of_pixels


def expected(codes: np.ndarray, diagonal: bool) -> np.ndarray:
    """(H, W) labels of the whole array by scipy."""
    found, first = np.zeros(codes.shape, int), 0
    for code in np.unique(codes):
        here, count = scipy_label(codes == code, generate_binary_structure(2, 2 if diagonal else 1))
        found[here > 0] = here[here > 0] + first
        first += count
    return found


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_tiles_of_any_side_give_the_regions_of_the_whole(seed: int, diagonal: bool) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(0, 2 + seed % 3, random.integers(1, 54, 2)).astype(np.uint8)
    whole = expected(codes, diagonal)
    for side in (1 if codes.size < 300 else 5, 7, 64):
        found, of_pixels = labelled(codes, side, diagonal)
        pairs = np.unique(np.stack([whole.ravel(), of_pixels.ravel()]), axis=1)
        assert pairs.shape[1] == len(found) == whole.max()
        assert np.array_equal(found.pixels, np.bincount(of_pixels.ravel()))
        assert np.array_equal(found.codes[of_pixels], codes)


def test_a_spiral_is_one_region_whatever_the_tiles() -> None:
    codes = np.zeros((41, 41), np.uint8)
    for ring in range(0, 20, 2):
        codes[ring, ring : 41 - ring] = codes[ring : 41 - ring, 40 - ring] = 1
        codes[40 - ring, ring : 41 - ring] = codes[ring + 2 : 41 - ring, ring] = 1
        codes[ring + 2, ring + 1] = 1
    assert len(list(shapes(codes, mask=codes == 1))) == 1
    for side in (3, 8):
        found, _ = labelled(codes, side)
        assert (found.codes == 1).sum() == 1


def test_the_first_and_the_last_tile_of_each_region() -> None:
    codes = np.array([[1, 1, 2, 2], [3, 1, 1, 2], [3, 4, 1, 5], [3, 3, 3, 3]], np.uint8)
    found, of_pixels = labelled(codes, 2)
    region = of_pixels[0, 0]
    assert (found.first_tile[region], found.last_tile[region]) == (0, 3)
    region = of_pixels[2, 1]
    assert (found.first_tile[region], found.last_tile[region]) == (2, 2)


def test_areas_add_up_to_those_of_the_classes() -> None:
    grid = Grid(CRS.from_epsg(4326), Affine(0.001, 0, 11, 0, -0.002, 60), (370, 530))
    codes = np.kron(np.random.default_rng(0).integers(0, 3, (37, 53)), np.ones((10, 10))).astype(np.uint8)
    tally = AreaTally(grid)
    tally.add(grid.window, codes)
    found, _ = labelled(codes, 64, tally=AreaTally(grid))
    by_class = np.bincount(found.codes, found.hectares)
    assert by_class == pytest.approx(tally.hectares[:3], rel=1e-5)
    assert by_class.sum() == pytest.approx(tally.hectares.sum(), rel=1e-9)


def test_pairs_make_components() -> None:
    roots = components(7, np.array([1, 6, 3]), np.array([2, 3, 5]))
    assert roots.tolist() == [0, 1, 1, 3, 4, 3, 3]


def test_more_patches_than_memory_is_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PARTS", 10)
    codes = np.arange(64, dtype=np.uint8).reshape(8, 8)
    with pytest.raises(ResourceError, match="over 10 patches"):
        labelled(codes, 4)
