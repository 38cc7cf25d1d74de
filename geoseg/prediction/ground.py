"""Ground resolution: what a model was trained at, what a scene has, and how the one is seen at the other."""

from __future__ import annotations

import logging
from typing import NamedTuple

from geoseg.errors import InputError, ModelError, UsageError
from geoseg.models.segmenter import SegmenterConfig
from geoseg.prediction.plan import Plan
from geoseg.raster.coarse import CoarseScene
from geoseg.raster.scene import SceneLike

log = logging.getLogger("geoseg")

UNLIKE = 1.25
"""How many times finer or coarser than a model's training a scene may be without a word."""
NEAR = 1.05
"""How many times finer or coarser a scene may be that matching leaves as it is: resampling would only blur it."""


class Match(NamedTuple):
    """How a scene is read so that the network sees the ground at the resolution it was trained at."""

    factor: int
    """Pixels of the scene along a side of what is read as one; 1 reads the scene as it is."""
    window: int
    """Side of a window, in what is read as pixels."""
    size: int
    """Side of the same in pixels as the network sees it."""


def unlike(first: float, second: float, limit: float = UNLIKE) -> bool:
    """True where one is more than ``limit`` times the other."""
    return not 1 / limit <= first / second <= limit


def resolve_gsd(scene: SceneLike, given: float | None) -> float | None:
    """Metres per pixel of a scene: its georeference's, else those given, else None.

    Raises UsageError for no distance.
    """
    if given is not None and not 0 < given < float("inf"):
        raise UsageError(f"a ground resolution is metres per pixel, above 0, got {given}")
    own = scene.grid.gsd
    if own and given and unlike(own, given):
        log.warning("%s: its georeference says %.3g m per pixel, which counts, not %.3g m", scene.name, own, given)
    return own or given


def match(ratio: float, trained: tuple[int, int], window: int | None = None, size: int | None = None) -> Match:
    """How to read a scene, a model's training pixel being ``ratio`` of its pixels long.

    A finer scene is read by whole factors first, so that no window grows beyond twice the trained one and memory does
    not depend on the ratio; what is left, or a coarser scene, is a window resampled to another size.

    Args:
        trained: window and size of the training.
        window: side in scene pixels, and the size follows.
        size: side as the network sees it, and the window follows; both None take the trained size.

    Raises UsageError where both are given, which leaves nothing to match.
    """
    if window and size:
        raise UsageError("--match-gsd finds the scale; leave --window or --size out")
    factor = max(int(ratio + NEAR - 1), 1)
    rest = ratio / factor
    if not unlike(rest, 1.0, NEAR):
        rest = 1.0
    scale = rest * trained[0] / trained[1]
    if window:
        side = max(round(window / factor), 1)
        return Match(factor, side, max(round(side / scale), 1))
    size = size or trained[1]
    return Match(factor, max(round(size * scale), 1), size)


def matched(
    scene: SceneLike,
    config: SegmenterConfig,
    gsd: float | None,
    window: int | None = None,
    size: int | None = None,
    overlap: int | None = None,
) -> tuple[SceneLike, dict[str, int | None]]:
    """The scene as it is read at a model's training resolution, and its window, size and overlap in those pixels.

    Args:
        gsd: the scene's, in metres per pixel, as resolve_gsd finds it.
        window, size: as ``match`` explains.
        overlap: in scene pixels.

    Raises ModelError where the model's resolution is not known, InputError where the scene's is not, or its pixels are
    far from square on the ground.
    """
    if config.gsd is None:
        raise ModelError("the model's record holds no ground resolution to match; train it with --gsd M")
    if gsd is None:
        raise InputError(f"{scene.name}: tells no ground resolution to match; name it with --gsd M (metres per pixel)")
    _require_square(scene)
    found = match(config.gsd / gsd, (config.window, config.size), window, size)
    log.info(
        "%s: %.3g m per pixel, seen at the model's %.3g m: %swindows of %d px as tiles of %d px",
        scene.name,
        gsd,
        config.gsd,
        f"{found.factor} x {found.factor} pixels read as one, " if found.factor > 1 else "",
        found.window,
        found.size,
    )
    view = CoarseScene(scene, found.factor) if found.factor > 1 else scene
    shared = None if overlap is None else overlap // found.factor
    return view, {"window": found.window, "size": found.size, "overlap": shared}


def say_if_unlike(plan: Plan, scene: SceneLike, config: SegmenterConfig, gsd: float | None) -> None:
    """Log a warning where a plan shows the network ground at a resolution unlike that of its training."""
    if config.gsd is None:
        return
    if gsd is None:
        log.info(
            "%s: tells no ground resolution; the model was trained at %.3g m per pixel (--gsd M names the scene's)",
            scene.name,
            config.gsd,
        )
        return
    seen, trained = gsd * plan.lattice.side / plan.size, config.gsd * config.window / config.size
    if unlike(seen, trained):
        finer = trained > seen
        log.warning(
            "%s: the model sees it at %.3g m per pixel and was trained at %.3g m, %.1f times as %s; "
            "--match-gsd reads it at the model's resolution",
            scene.name,
            seen,
            trained,
            max(seen, trained) / min(seen, trained),
            "coarse" if finer else "fine",
        )


def _require_square(scene: SceneLike) -> None:
    height, width = scene.grid.pixel_metres or (1.0, 1.0)
    if unlike(height, width):
        raise InputError(
            f"{scene.name}: its pixels are {height:.3g} m high and {width:.3g} m wide on the ground, which no one "
            "resolution matches; warp it to square ones first: gdalwarp -t_srs with its UTM zone"
        )
