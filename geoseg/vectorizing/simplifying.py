"""simplified: outlines with fewer points, of all regions of a tile at once, so that neighbours still share them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import shapely

from geoseg.errors import UsageError
from geoseg.vectorizing.rings import Rings

LEAST_GEOS = 3, 12, 0
"""The first version that simplifies coverages."""
FINEST = 64
"""The ratio of a pixel's sides is taken as one of whole numbers, the second no larger than this."""


def require_geos() -> None:
    """Raise UsageError where shapely cannot simplify coverages."""
    if shapely.geos_version < LEAST_GEOS:
        wanted, found = (".".join(map(str, version)) for version in (LEAST_GEOS, shapely.geos_version))
        raise UsageError(f"simplifying needs GEOS {wanted} or newer, shapely has {found}: pip install -U shapely")


def simplified(rings: Rings, tolerance: float, pixel: tuple[float, float]) -> Rings:
    """The outlines of all labels of a tile, simplified together (Visvalingam and Whyatt); what of them lies on the
    tile's sides stays, with a point for every pixel, so that neighbouring tiles agree.

    Args:
        rings: of every pixel of the tile.
        tolerance: the root of the area of the triangles that are left out, in the units of ``pixel``.
        pixel: (height, width) of a pixel.
    """
    # Of outlines with points where they turn only, one neighbour may lack a point that the other has.
    polygons, labels = rings.in_steps().polygons()
    # By whole numbers: points that lie on a line, or in one place, must still do so exactly.
    scale = np.array(_whole_sides(*pixel)[::-1])
    scaled = shapely.transform(polygons, lambda points: points * scale)
    tolerance *= math.sqrt(math.prod(scale) / math.prod(pixel))
    simple = shapely.coverage_simplify(scaled, tolerance, simplify_boundary=False)
    return Rings.of_polygons(shapely.transform(simple, lambda points: points / scale), labels)


def _whole_sides(height: float, width: float) -> tuple[int, int]:
    """(height, width) of a pixel, in whole numbers whose ratio is nearly that of its sides."""
    if height < width:
        return _whole_sides(width, height)[::-1]
    ratio = Fraction(height / width).limit_denominator(FINEST)
    return ratio.numerator, ratio.denominator
