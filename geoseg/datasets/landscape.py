"""A synthetic land-cover world seen from above: SYNTHETIC pictures with exact labels.

`draw_land` is told how much of each class the land holds. It lays out where things
are (`lay_...`) and paints them (`paint_...`). Clouds, light and camera are in
`synthetic`.

All maps are (H, W) arrays at 2 m per pixel and all lengths are metres, so that a
larger scene is more land, not finer land. Colours are red, green, blue in 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoseg.datasets.shapes import (
    GSD,
    mean_by,
    nearest_points,
    rough_noise,
    shifted,
    smooth_noise,
    turn,
    uneven_slots,
    winding_line,
)

URBAN, AGRICULTURE, RANGELAND, FOREST, WATER, BARREN, UNKNOWN = range(7)

# Crops: colour, colour spread, contrast of the rows, patchiness, how common.
CROPS = (
    ((104, 130, 66), 9, 0.04, 0.06, 1.3),  # young cereal
    ((66, 100, 52), 8, 0.08, 0.06, 1.0),  # maize, beet
    ((186, 164, 106), 10, 0.04, 0.06, 1.2),  # ripe cereal
    ((160, 150, 112), 10, 0.07, 0.09, 0.8),  # stubble
    ((128, 100, 76), 11, 0.07, 0.12, 0.9),  # ploughed soil
    ((186, 164, 134), 11, 0.05, 0.12, 0.6),  # dry bare soil, much like barren ground
    ((120, 134, 82), 9, 0.02, 0.16, 0.9),  # meadow
    ((142, 140, 92), 10, 0.01, 0.20, 0.7),  # dry meadow, much like rangeland
    ((92, 108, 66), 8, 0.22, 0.08, 0.4),  # orchard and vines, a little like forest
    ((190, 182, 66), 9, 0.04, 0.05, 0.2),  # rapeseed
)
ROOFS = ((164, 92, 70), (146, 78, 60), (120, 92, 80), (112, 112, 116), (84, 84, 92), (186, 176, 164))
HALLS = ((206, 208, 210), (168, 172, 178), (130, 136, 146), (120, 142, 164), (190, 184, 172))
GROUNDS = ((206, 186, 148), (176, 166, 152), (192, 160, 122))  # sand, rock and gravel, ochre
ASPHALT, PAVING, DIRT = (128, 127, 123), (164, 158, 150), (188, 168, 136)
GRASS, HEDGE, SHRUB = (112, 132, 76), (58, 82, 46), (78, 92, 56)


@dataclass
class Ground:
    """The lie of the land. Every map is (H, W); blocks are tracts with one field direction."""

    x: np.ndarray  # metres east, gently bent, float32
    y: np.ndarray  # metres south, gently bent, float32
    block: np.ndarray  # number of the block, int32
    along: np.ndarray  # metres from the block's centre, along its direction
    across: np.ndarray  # metres from the block's centre, across its direction
    verge: np.ndarray  # metres to the edge of the block
    lane: np.ndarray  # 0..1, one value for each edge between two blocks
    grain: np.ndarray  # noise with unit variance, 2 m
    mottle: np.ndarray  # the same, about 12 m
    tone: np.ndarray  # the same, about 60 m
    sun: np.ndarray  # (2,) step (rows, columns) in which shadows fall


@dataclass
class Parcels:
    """A mosaic of plots inside the blocks; maps are (H, W)."""

    number: np.ndarray  # 0, 1, 2, ... without gaps, int32
    edge: np.ndarray  # metres to the nearest edge of the plot


@dataclass
class Town:
    """Streets, lots and roofs as they would be if all the land were built up; maps are (H, W)."""

    lot: np.ndarray  # number of the lot, int32
    street: np.ndarray  # metres to the edge of the street, negative on it
    roof: np.ndarray  # bool
    slope: np.ndarray  # metres from the ridge of the roof
    hall: np.ndarray  # bool, block of large industrial halls


def draw_land(
    shape: tuple[int, int], shares: dict[int, float], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw land with the given shares of the classes, in even light and without clouds.

    Returns the colours, (H, W, 3) float32 in 0..255; the class index, (H, W) uint8;
    and the step (rows, columns) in which shadows fall.
    """
    ground = lay_ground(shape, rng)
    parcels = lay_parcels(ground, rng)
    town = lay_town(ground, rng)
    road = winding_line(ground.x, ground.y, 1100.0, 38.0, rng) < 3.5
    index = lay_classes(ground, parcels, town, shares, rng)
    town.roof &= ~spoiled_lots(town, (index != URBAN) | road | (ground.verge < 5.0))[town.lot]
    return paint_land(ground, parcels, town, road, index, rng), index, ground.sun


# --- where things are -----------------------------------------------------------


def lay_ground(shape: tuple[int, int], rng: np.random.Generator) -> Ground:
    """Blocks of land, each with its own direction, and the noise that all painters share."""
    rows, cols = (np.arange(n, dtype=np.float32) * GSD for n in shape)
    x = cols[None, :] + 14 * smooth_noise(shape, 240.0, rng)
    y = rows[:, None] + 14 * smooth_noise(shape, 240.0, rng)
    points, block, other = nearest_points(x, y, 320.0, rng)
    centre = points[block]
    angles = (rng.uniform(0, np.pi) + rng.normal(0, 0.4, len(points))).astype(np.float32)
    lanes = rng.random(2 * len(points), dtype=np.float32)
    return Ground(
        x,
        y,
        block,
        *turn(x - centre[..., 0], y - centre[..., 1], angles[block]),
        verge=edge_distance(x, y, centre, points[other]),
        lane=lanes[block + other],  # the sum is the same seen from either side of an edge
        grain=rng.standard_normal(shape, dtype=np.float32),
        mottle=smooth_noise(shape, 12.0, rng),
        tone=smooth_noise(shape, 60.0, rng),
        sun=np.array([(-1, 1), (-1, -1), (-1, 0), (0, -1)][rng.integers(4)]),
    )


def edge_distance(x: np.ndarray, y: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Metres from each place to the line half way between its two nearest points (H, W, 2)."""
    gap = np.hypot(near[..., 0] - far[..., 0], near[..., 1] - far[..., 1]) + 1e-3
    to_near, to_far = ((x - point[..., 0]) ** 2 + (y - point[..., 1]) ** 2 for point in (near, far))
    return (to_far - to_near) / (2 * gap)


def lay_parcels(ground: Ground, rng: np.random.Generator) -> Parcels:
    """Fields: strips across each block, cut into lengths."""
    blocks = ground.block.max() + 1
    width = rng.uniform(55, 120, blocks).astype(np.float32)[ground.block]
    length = rng.uniform(110, 260, blocks).astype(np.float32)[ground.block]
    lean = rng.normal(0, 0.18, blocks).astype(np.float32)[ground.block]
    strip, begin, end = uneven_slots(ground.across / width, ground.block, rng)
    number, left, right = uneven_slots((ground.along + lean * ground.across) / length, strip, rng)
    edge = np.minimum(np.minimum(begin, end) * width, np.minimum(left, right) * length)
    return Parcels(number, np.minimum(edge, ground.verge))


def lay_town(ground: Ground, rng: np.random.Generator) -> Town:
    """Streets around rows of lots, back to back, with a roof on most lots."""
    hall = (rng.random(ground.block.max() + 1) < 0.25)[ground.block]
    scale = np.where(hall, np.float32(2.2), np.float32(1.0))
    depth, frontage, reach = 62 * scale, 21 * scale, 160 * scale
    strip, begin, end = uneven_slots(ground.across / depth, ground.block, rng)
    _, left, right = uneven_slots(ground.along / reach, ground.block, rng)
    to_street = np.minimum(begin, end) * depth
    street = np.minimum(np.minimum(to_street, np.minimum(left, right) * reach), ground.verge) - 3.5
    lot, before, after = uneven_slots(ground.along / frontage, 2 * strip + (begin < end), rng)
    middle = (before - after) / 2 * frontage
    roof, slope = lay_roofs(lot, middle, to_street, scale, rng)
    roof &= np.minimum(before, after) * frontage > 1
    return Town(lot, street, roof, slope, hall)


def lay_roofs(
    lot: np.ndarray, middle: np.ndarray, to_street: np.ndarray, scale: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where roofs are (bool), and metres from the ridge; `middle` is metres from the lot's middle."""
    lots = lot.max() + 1
    half_width, half_depth, setback = (
        rng.uniform(low, high, lots).astype(np.float32)[lot] * scale
        for low, high in ((4.5, 9.0), (4.0, 6.5), (11.0, 16.0))
    )
    slope = to_street - setback
    built = (rng.random(lots) < 0.9)[lot]
    return built & (np.abs(middle) < half_width) & (np.abs(slope) < half_depth), slope


def spoiled_lots(town: Town, blocked: np.ndarray) -> np.ndarray:
    """True for each lot whose roof would stand on blocked ground or on a street."""
    spoilt = town.roof & (blocked | (town.street < 1.5))
    return np.bincount(town.lot[spoilt], minlength=town.lot.max() + 1) > 0


def lay_classes(
    ground: Ground, parcels: Parcels, town: Town, shares: dict[int, float], rng: np.random.Generator
) -> np.ndarray:
    """Class index (H, W), uint8, without clouds: each class claims the places that suit it best."""
    shape = ground.x.shape
    river = winding_line(ground.x, ground.y, 2600.0, 70.0, rng) + 1.5 * ground.mottle
    scores = {
        WATER: score_water(river, shape, rng),
        URBAN: mean_by(town.lot, smooth_noise(shape, 300.0, rng)),
        FOREST: score_wild(parcels, rough_noise(shape, 220.0, rng), 0.5),
        BARREN: score_wild(parcels, rough_noise(shape, 170.0, rng), 0.4) + np.exp(-river / 40),
        RANGELAND: score_wild(parcels, rough_noise(shape, 240.0, rng), 0.6),
    }
    index = np.full(shape, AGRICULTURE, dtype=np.uint8)
    for cls, score in scores.items():
        index[claim(score, index == AGRICULTURE, shares[cls])] = cls
    return index


def claim(score: np.ndarray, free: np.ndarray, share: float) -> np.ndarray:
    """Mask of the best scored free pixels, `share` of the whole scene in all."""
    wanted = round(share * score.size)
    values = score[free]
    if wanted == 0 or wanted >= values.size:
        return free if wanted else np.zeros_like(free)
    return free & (score >= np.partition(values, -wanted)[-wanted])


def score_water(river: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Rivers, ponds, or both."""
    ponds = 60 * rough_noise(shape, 110.0, rng, octaves=3) - 120
    kind = rng.choice(["river", "ponds", "both"], p=[0.5, 0.2, 0.3])
    if kind == "river":
        return -river
    return ponds if kind == "ponds" else np.maximum(8 - river, ponds - 40)


def score_wild(parcels: Parcels, noise: np.ndarray, tidy: float) -> np.ndarray:
    """Wild land: partly whole parcels gone wild (`tidy` = 1), partly free shapes (0)."""
    return tidy * 1.6 * mean_by(parcels.number, noise) + (1 - tidy) * noise


# --- painting ---------------------------------------------------------------------


def paint_land(
    ground: Ground, parcels: Parcels, town: Town, road: np.ndarray, index: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Colours (H, W, 3) float32 of the land in even light, with shadows."""
    picture = np.zeros((*index.shape, 3), dtype=np.float32)
    height = np.zeros(index.shape, dtype=np.uint8)  # length of the shadow in pixels
    paint_fields(picture, index == AGRICULTURE, ground, parcels, rng)
    paint_lanes(picture, height, index == AGRICULTURE, ground, parcels, rng)
    paint_rangeland(picture, height, index == RANGELAND, ground, rng)
    paint_barren(picture, index == BARREN, ground, rng)
    paint_water(picture, index == WATER, ground, rng)
    paint_urban(picture, height, index == URBAN, ground, town, rng)
    picture[road & (index != WATER)] = jitter(ASPHALT, 8, rng)
    height[road] = 0
    paint_trees(picture, height, (index == FOREST) & ~road, ground, 7.5, 1.0, 3, rng)
    cast_shadows(picture, height, ground.sun)
    return picture


def jitter(colour, spread: float, rng: np.random.Generator, count: int | None = None) -> np.ndarray:
    """The colour (3,), or `count` of them (count, 3), a little lighter or darker and off its hue."""
    lead = () if count is None else (count, 1)
    size = (3,) if count is None else (count, 3)
    shade = rng.normal(0, spread, lead) + rng.normal(0, spread / 3, size)
    return (np.asarray(colour) + shade).astype(np.float32)


def lit(colour: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Colours (N, 3) or (3,) made lighter by the fractions `light` (N,)."""
    return np.asarray(colour, dtype=np.float32) * (1 + light[:, None])


def paint_fields(picture, where, ground: Ground, parcels: Parcels, rng) -> None:
    """Each parcel bears one crop in rows, and uneven soil shows through."""
    number = parcels.number[where]
    count = parcels.number.max() + 1
    common = np.array([crop[4] for crop in CROPS]) * rng.gamma(1.5, size=len(CROPS))  # the season's crops
    crop = rng.choice(len(CROPS), count, p=common / common.sum())
    colour, spread, contrast, patchy = (
        np.array(part, dtype=np.float32)[crop] for part in list(zip(*CROPS, strict=True))[:4]
    )
    colour = jitter(colour, 1.0, rng, count) + rng.normal(0, 1, (count, 3)) * spread[:, None] * (0.7, 0.6, 0.5)
    rows = crop_rows(where, number, ground, count, rng)
    light = contrast[number] * rows + patchy[number] * 0.5 * (ground.tone + 0.6 * ground.mottle)[where]
    light += 0.03 * ground.grain[where]
    picture[where] = lit(colour.astype(np.float32)[number], light)


def crop_rows(where, number, ground: Ground, count: int, rng) -> np.ndarray:
    """Brightness -1..1 of the rows at the masked places: 5 to 11 m apart, with tramlines."""
    lengthwise = (rng.random(count) < 0.7)[number]
    offset = np.where(lengthwise, ground.across[where], ground.along[where])
    spacing = rng.uniform(5, 11, count).astype(np.float32)[number]
    tramline = np.abs(offset / (2 * spacing + 8) % 1 - 0.5) < 0.05
    return np.cos(2 * np.pi * offset / spacing) - 0.8 * tramline


def paint_lanes(picture, height, where, ground: Ground, parcels: Parcels, rng) -> None:
    """Between fields: grass margins, hedges, dirt tracks and small paved roads."""
    margin = where & (parcels.edge < 1.6)
    picture[margin] = lit(GRASS, 0.1 * ground.mottle[margin])
    hedged = (rng.random(parcels.number.max() + 1) < 0.22)[parcels.number] & (parcels.edge < 3.5)
    hedged |= (ground.lane > 0.72) & (ground.verge < 5)
    paint_trees(picture, height, where & hedged & (ground.tone > -0.8), ground, 6.0, 0.85, 2, rng)
    for lane, half_width, colour in ((0.55, 2.2, DIRT), (0.2, 3.2, ASPHALT)):
        track = where & (ground.lane < lane) & (ground.verge < half_width)
        picture[track] = lit(colour, 0.05 * ground.grain[track])
        height[track] = 0


def paint_trees(picture, height, where, ground: Ground, spacing: float, density: float, shadow: int, rng) -> None:
    """Round crowns `spacing` metres apart, light towards the sun and dark in the gaps."""
    if not where.any():
        return
    x, y = ground.x[where], ground.y[where]
    points, tree, _ = nearest_points(x, y, spacing, rng)
    east, south = (x - points[tree, 0]) / spacing, (y - points[tree, 1]) / spacing
    dome = np.clip(1 - 1.6 * (east**2 + south**2), 0, 1)
    sunny = -(east * ground.sun[1] + south * ground.sun[0])
    light = 0.55 * (dome - 0.75) + 0.45 * sunny + 0.08 * ground.tone[where] + 0.05 * ground.grain[where]
    kinds = jitter(HEDGE, 9, rng, len(points)) + rng.normal(0, 6, 3).astype(np.float32) * (1, 0.7, 0.5)
    standing = (rng.random(len(points)) < density)[tree] & (dome > (0.35 if density < 1 else -1))
    rows, cols = (part[standing] for part in np.nonzero(where))
    picture[rows, cols] = lit(kinds[tree], light)[standing]
    height[rows, cols] = shadow


def paint_rangeland(picture, height, where, ground: Ground, rng) -> None:
    """Mottled dry grass with bare spots and scattered shrubs."""
    light = 0.10 * ground.tone + 0.08 * ground.mottle + 0.05 * ground.grain
    picture[where] = lit(jitter((152, 144, 98), 8, rng), light[where])
    bare = where & (ground.mottle - ground.tone > 1.6)
    picture[bare] = lit((182, 164, 126), light[bare])
    shrubby = where & (ground.tone > rng.uniform(-1.5, 0.5))
    paint_trees(picture, height, shrubby, ground, 9.0, rng.uniform(0.1, 0.35), 1, rng)


def paint_barren(picture, where, ground: Ground, rng) -> None:
    """Sand, rock and gravel, two of them mixed: bright and rough, lit from the side, with stones."""
    relief = rough_noise(where.shape, 30.0, rng, octaves=4)
    slope = relief - shifted(relief, ground.sun)
    light = 0.34 * np.clip(slope, -1.2, 1.2) + 0.06 * ground.grain + 0.07 * ground.tone - 0.05 * np.abs(relief)
    one, two = (jitter(colour, 8, rng) for colour in rng.permutation(GROUNDS)[:2])
    mix = np.clip(0.5 + 0.8 * rough_noise(where.shape, 90.0, rng), 0, 1)[where][:, None]
    picture[where] = lit(one * (1 - mix) + two * mix, light[where])
    stones = where & (ground.grain + 0.6 * relief > 2.6)
    picture[stones] *= 0.72


def paint_water(picture, where, ground: Ground, rng) -> None:
    """Dark and smooth, blue-green or muddy."""
    clear, muddy = np.array((44, 72, 78)), np.array((94, 100, 82))
    mud = rng.beta(0.7, 2.0)
    colour = jitter(clear + (muddy - clear) * mud, 5, rng)
    picture[where] = lit(colour, (0.05 * ground.tone + 0.012 * ground.grain)[where])


def paint_urban(picture, height, where, ground: Ground, town: Town, rng) -> None:
    """Gardens and yards with trees, then streets, then roofs."""
    lots = town.lot.max() + 1
    paved = (rng.random(lots) < 0.25)[town.lot] | town.hall
    for yard, colour, rough in ((where & ~paved, (120, 126, 86), 0.13), (where & paved, PAVING, 0.06)):
        shade = jitter(colour, 9, rng, lots)[town.lot[yard]]
        picture[yard] = lit(shade, rough * (0.6 * ground.mottle + 0.4 * ground.grain)[yard])
    paint_trees(picture, height, where & ~paved, ground, 9.0, 0.35, 1, rng)
    for edge, colour in ((1.5, PAVING), (0.0, ASPHALT)):
        street = where & (town.street < edge)
        picture[street] = lit(colour, 0.04 * ground.grain[street])
        height[street] = 0
    paint_roofs(picture, height, where & town.roof, ground, town, rng)


def paint_roofs(picture, height, where, ground: Ground, town: Town, rng) -> None:
    """Tiled roofs with a ridge on houses, flat ones on halls."""
    lots, lot, hall = town.lot.max() + 1, town.lot[where], town.hall[where]
    tiles = jitter(np.array(ROOFS)[rng.integers(len(ROOFS), size=lots)], 9, rng, lots)
    sheets = jitter(np.array(HALLS)[rng.integers(len(HALLS), size=lots)], 9, rng, lots)
    ridge = np.where(hall, 0.02, 0.13) * np.sign(town.slope[where])
    picture[where] = lit(np.where(hall[:, None], sheets[lot], tiles[lot]), ridge + 0.03 * ground.grain[where])
    height[where] = np.where(hall, 3, 2)


def cast_shadows(picture: np.ndarray, height: np.ndarray, sun: np.ndarray) -> None:
    """Darken the low ground beside trees and buildings."""
    shade = np.zeros(height.shape, dtype=bool)
    for step in range(1, int(height.max()) + 1):
        shade |= shifted(height >= step, step * sun)
    picture[shade & (height == 0)] *= np.array((0.5, 0.54, 0.62), dtype=np.float32)
