"""The lattice and the shards: every pixel covered, nothing outside, the same tiles from any shard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import UsageError
from geoseg.grid import Window
from geoseg.tiling import BLOCK, Lattice, blocks, starts


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    side = draw(st.integers(1, 40))
    shape = draw(st.tuples(st.integers(1, 90), st.integers(1, 90)))
    return Lattice(shape, side, draw(st.integers(max(0, side - 20), side - 1)) // draw(st.integers(1, 4)))


def cover(shape: tuple[int, int], windows: list[Window]) -> np.ndarray:
    """How often each pixel is covered; fails where a window leaves ``shape``."""
    count = np.zeros(shape, int)
    for window in windows:
        assert window.row_stop <= shape[0] and window.col_stop <= shape[1]
        count[window.slices] += 1
    return count


@given(lattices())
def test_the_tiles_cover_the_scene_and_nothing_else(lattice: Lattice) -> None:
    tiles = list(lattice)
    assert cover(lattice.shape, tiles).min() >= 1
    assert len(tiles) == len(lattice) == len(set(tiles))
    assert tiles == sorted(tiles)


@given(lattices())
def test_every_tile_has_the_full_side_or_the_scene_s(lattice: Lattice) -> None:
    expected = tuple(min(lattice.side, length) for length in lattice.shape)
    assert {tile.shape for tile in lattice} == {expected}


@given(st.integers(1, 500), st.integers(1, 60), st.data())
def test_the_fewest_windows_share_the_overlap_at_least(length: int, side: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, side - 1))
    first = starts(length, side, overlap)
    steps = np.diff(first)
    assert first[0] == 0 and first[-1] == max(0, length - side)
    assert (steps <= side - overlap).all() and (steps > 0).all()
    assert len(steps) == max(0, -(-(length - side) // (side - overlap)))
    assert (np.array(first[:-1]) % np.gcd(side - overlap, 32) == 0).all()


def test_what_windows_share_more_is_spread_over_all() -> None:
    overlaps = 1024 - np.diff(starts(24_576, 1024, 128))
    assert overlaps.min() == 128 and overlaps.max() <= 128 + 32 and (overlaps[:-1] % 32 == 0).all()


@pytest.mark.parametrize(
    ("length", "side", "overlap", "expected"),
    [
        (10, 4, 0, [0, 4, 6]),
        (10, 4, 1, [0, 3, 6]),
        (11, 4, 1, [0, 2, 4, 7]),
        (2432, 512, 96, [0, 384, 768, 1152, 1536, 1920]),
        (1500, 512, 96, [0, 320, 640, 988]),
        (8, 4, 0, [0, 4]),
        (9, 4, 0, [0, 4, 5]),
        (4, 4, 3, [0]),
        (5, 4, 3, [0, 1]),
        (3, 4, 1, [0]),
        (1, 1, 0, [0]),
    ],
)
def test_starts_by_hand(length: int, side: int, overlap: int, expected: list[int]) -> None:
    assert starts(length, side, overlap) == expected


def test_rows_and_columns_are_not_swapped() -> None:
    lattice = Lattice((10, 4), side=4, overlap=0)
    assert (lattice.rows, lattice.cols) == ([0, 4, 6], [0])
    assert list(lattice) == [Window(0, 0, 4, 4), Window(4, 0, 4, 4), Window(6, 0, 4, 4)]


@pytest.mark.parametrize(("shape", "tiles"), [((1, 1), 1), ((1, 5000), 6), ((5000, 1), 6), ((1024, 1025), 2)])
def test_thin_scenes(shape: tuple[int, int], tiles: int) -> None:
    lattice = Lattice(shape, side=1024, overlap=128)
    assert len(lattice) == tiles and cover(shape, list(lattice)).min() >= 1


@given(lattices(), st.data())
def test_the_tiles_of_an_area_are_those_that_meet_it(lattice: Lattice, data: st.DataObject) -> None:
    row, col = (data.draw(st.integers(0, length - 1)) for length in lattice.shape)
    height, width = (data.draw(st.integers(1, n - at)) for n, at in zip(lattice.shape, (row, col), strict=True))
    area = Window(row, col, height, width)
    rows = lattice.rows_meeting(area)
    assert rows == [start for start in lattice.rows if any(w.intersect(area) for w in lattice.windows_of_row(start))]
    found = [tile for start in rows for tile in lattice.windows_of_row(start, area)]
    assert found == [tile for tile in lattice if tile.intersect(area)]


@given(st.tuples(st.integers(1, 99), st.integers(1, 99)), st.integers(1, 40))
def test_blocks_cover_each_pixel_once_in_row_major_order(shape: tuple[int, int], side: int) -> None:
    windows = blocks(shape, side)
    assert (cover(shape, windows) == 1).all() and windows == sorted(windows)
    assert all(max(w.shape) <= side and w.row % side == w.col % side == 0 for w in windows)


@given(
    st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(1, 3000),
    st.integers(0, 400),
)
def test_shards_partition_the_scene_on_block_borders(shape, most, side, overlap) -> None:
    most = most[0] * BLOCK, most[1] * BLOCK
    windows = Lattice(shape, side, min(overlap, side - 1)).shards(most)
    assert all(w.height <= most[0] and w.width <= most[1] for w in windows)
    assert windows == sorted(windows, key=lambda w: (w.col, w.row))
    # No column more than are needed.
    assert len({w.col for w in windows}) == -(-shape[1] // most[1])
    assert sum(w.height * w.width for w in windows) == shape[0] * shape[1]
    assert all(a is b or a.intersect(b) is None for a in windows for b in windows)
    assert all(w.row % BLOCK == w.col % BLOCK == 0 for w in windows)
    assert all(w.row_stop % BLOCK == 0 or w.row_stop == shape[0] for w in windows)
    assert all(w.col_stop % BLOCK == 0 or w.col_stop == shape[1] for w in windows)


@pytest.mark.parametrize("side", [0, 1, BLOCK - 1, BLOCK + 1, 3 * BLOCK // 2])
def test_a_shard_s_sides_are_multiples_of_the_block(side: int) -> None:
    for shape in ((side, BLOCK), (BLOCK, side)):
        with pytest.raises(UsageError, match="multiples of 512"):
            Lattice((2000, 2000), 64, 8).shards(shape)


def test_columns_of_shards_are_cut_where_one_window_lies_across() -> None:
    # Windows some 727 px apart: two lie across the even cut at 4608, one across 4096 or 5120.
    lattice = Lattice((100, 9000), 1000, 250)
    across = lambda cut: sum(first < cut < first + 1000 for first in lattice.cols)  # noqa: E731
    (cut,) = {w.col for w in lattice.shards((2048, 8192))} - {0}
    assert across(4608) == 2 and cut in (4096, 5120) and across(cut) == 1


@pytest.mark.parametrize(
    ("shape", "side", "overlap"), [((0, 5), 4, 0), ((5, 0), 4, 0), ((5, 5), 0, 0), ((5, 5), 4, 4), ((5, 5), 4, -1)]
)
def test_an_impossible_lattice_is_refused(shape: tuple[int, int], side: int, overlap: int) -> None:
    with pytest.raises(UsageError) as caught:
        Lattice(shape, side, overlap)
    assert caught.value.exit_code == 2
