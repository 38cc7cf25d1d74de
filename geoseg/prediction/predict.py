"""geoseg.predict: the local loop over the shards of a plan."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.io
import rasterio.vrt
import torch
from tqdm import tqdm

import geoseg
from geoseg.ahead import reader_threads, write_behind
from geoseg.errors import InputError, UsageError
from geoseg.files import replace_file, require_place
from geoseg.grid import Grid
from geoseg.legend import NODATA
from geoseg.models.device import resolve_device
from geoseg.models.segmenter import Segmenter, SegmenterConfig
from geoseg.models.storage import load
from geoseg.prediction.bands import open_file, open_mosaic, open_stack
from geoseg.prediction.ground import matched, resolve_gsd, say_if_unlike
from geoseg.prediction.journal import Journal
from geoseg.prediction.native import native_results
from geoseg.prediction.plan import Plan, Scores, make_plan, require_fit, resolve_stretch, with_half_the_batch
from geoseg.prediction.prediction import Prediction
from geoseg.prediction.shard import ShardResult, engine_of, run_shards
from geoseg.qgis import class_raster_style, qml_path
from geoseg.raster.areas import AreaTally
from geoseg.raster.bands import Band
from geoseg.raster.clipped import clipped
from geoseg.raster.coarse import source_of
from geoseg.raster.interest import AreaOfInterest
from geoseg.raster.opening import DRIVERS
from geoseg.raster.scene import AnyRule, ArrayScene, Scene, SceneLike, reader_count
from geoseg.raster.scores import score_band_names
from geoseg.raster.sieve import MappingUnit, Sieve
from geoseg.raster.writer import ClassRasterWriter, RasterWriter, ScoreRasterWriter, require_writable
from geoseg.source import OpeningPolicy, Source
from geoseg.tiling import blocks

log = logging.getLogger("geoseg")

TALLIED = 1024
"""Side in pixels of the windows in which a map in memory is counted."""
Pending = Callable[[], ShardResult]
AnyFile = str | Path | Source
AnyScene = AnyFile | Sequence[AnyFile] | np.ndarray | rasterio.DatasetReader | SceneLike
"""What stands for a scene: a raster file, several of a mosaic or a stack, an array, an open dataset, or a scene."""


def predict(
    scene: AnyScene,
    model: str | Path | Segmenter,
    output: str | Path | None = None,
    *,
    bands: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
    scores: Scores = "none",
    scores_output: str | Path | None = None,
    cog: bool = False,
    creation_options: Mapping[str, str] | None = None,
    qml: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    **options: Any,
) -> Prediction:
    """Label every pixel of a scene.

    Args:
        scene: a raster file by its path or URL, or as a Source, which says what may be opened; an open rasterio
            dataset, an array (C, H, W) or (H, W), a Scene, or with ``mosaic`` or ``stack`` a list of raster files.
        model: a run folder, a model file, or a Segmenter.
        output: the GeoTIFF to write, on the scene's own grid; None keeps the codes in memory.
        bands: of a raster file, numbers from 1 or names; None takes those the model was trained on, as open_file
            (geoseg.prediction.bands) explains. Arrays and Scenes are taken as they are.
        nodata_rule: of a raster file, "all" makes a pixel invalid where all bands are nodata, "any" where one is;
            "all 0" counts 0 as nodata, too.
        scores, scores_output: what is kept beside the classes ("top", "margin" or "all"), and the GeoTIFF it goes to.
        cog: write Cloud Optimised GeoTIFFs.
        creation_options: of GDAL's driver, such as {"COMPRESS": "ZSTD"}.
        qml: write a style for QGIS beside the map, which it applies when it opens that.
        resume: go on with what an earlier run of the same plan finished.
        overwrite: replace files that exist.
        progress: show a bar on stderr.
        options: any of

            - ``window``, ``size``, ``overlap``: sides in pixels of what is read and of what the network sees, and
              pixels of the scene that windows share; by default as the model was trained;
            - ``aoi``: a vector file of polygons or an AreaOfInterest, or ``bbox``: (west, south, east, north), with
              ``bbox_crs`` where it is not the scene's: the part that is mapped;
            - ``match_gsd``: see the scene at the resolution of the model's training; ``gsd``: metres per pixel of a
              scene that tells none;
            - ``mosaic``: the scene is several files that make one; ``stack``: it is several files of one band each;
            - ``tta``: see each tile in eight rotations and reflections; ``prior_correction``: the power tau or "auto";
            - ``min_area``: hectares, or ``min_pixels``, below which a patch of the map becomes part of its largest
              neighbour (scores stay those of the pixels);
            - ``device``, ``precision``, ``engine``, ``batch_size``: as ``geoseg predict --help`` explains them;
            - ``shard_shape`` and ``stretch``, as make_plan (geoseg.prediction.plan) explains them.

    Raises InputError, ModelError, OutputError (before any work), ResourceError, UsageError.
    """
    files = None
    if output is not None:
        files = Files(Path(output), scores_output and Path(scores_output), cog, creation_options or {}, overwrite, qml)
        # A run stopped between putting the map in its place and forgetting its parts has written what is there.
        files.check(replacing=resume)
        for file in source_files(scene):
            require_other_file(file, files.output)
        if (scores == "none") != (scores_output is None):
            raise UsageError("scores need both what to write and the file to write it to")
    elif resume or cog or creation_options or scores_output or qml:
        raise UsageError("resume, cog, creation options, a style and a scores output need an output file")
    with planned(scene, model, bands, nodata_rule, scores=scores, **options) as (plan, opened, segmenter):
        if files is None:
            return _into_memory(plan, opened, segmenter, progress)
        return _into_files(plan, opened, segmenter, files, resume, progress)


def predict_strips(
    scene: AnyScene,
    model: str | Path | Segmenter,
    *,
    bands: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
    **options: Any,
) -> Iterator[ShardResult]:
    """The finished strips of a map, one after the other, for those who write elsewhere.

    Each has ``window``, ``codes`` (H, W), and ``bands`` (codes and the scores that were asked for; None without data).
    Strips cover the scene without overlap, column by column (of up to 12,288 px) from the top down. ``scene``,
    ``model``, ``bands``, ``nodata_rule`` and ``options`` are those of predict.

    Raises InputError, ModelError, ResourceError, UsageError.
    """
    with planned(scene, model, bands, nodata_rule, **options) as (plan, opened, segmenter):
        if plan.least_patch:
            raise UsageError("small patches are merged when the map is whole; predict into a file or an array")
        with closing(_results(plan, opened, segmenter)) as results:
            for _, pending in results:
                yield from native_results(pending(), opened)


@contextmanager
def planned(
    scene: AnyScene,
    model: str | Path | Segmenter,
    bands: Sequence[Band] | None,
    nodata_rule: AnyRule = "all",
    *,
    mosaic: bool = False,
    stack: bool = False,
    aoi: str | Path | AreaOfInterest | None = None,
    bbox: Sequence[float] | None = None,
    bbox_crs: str | None = None,
    gsd: float | None = None,
    match_gsd: bool = False,
    **options: Any,
) -> Iterator[tuple[Plan, SceneLike, Segmenter]]:
    """The plan of a prediction with its scene open and its model on the device, in evaluation mode.

    Args:
        mosaic: ``scene`` is several files that lie side by side, as MosaicScene explains.
        stack: ``scene`` is several files of one band each, as StackScene explains.
        aoi, bbox, bbox_crs: the part of the scene that is asked for, as ``clipped`` explains.
        gsd: ground resolution of a scene that tells none, in metres per pixel.
        match_gsd: read the scene at the resolution of the model's training, as ``matched`` explains; the map lies on
            the scene's own grid still.
        options: of make_plan; window and overlap in pixels of the scene.
    """
    is_file = isinstance(scene, rasterio.io.DatasetReader) or bool(source_files(scene))
    if bands is not None and not is_file:
        raise UsageError("bands are chosen from a raster file; slice an array, or make a Scene with bands")
    segmenter = model if isinstance(model, Segmenter) else load(model)
    segmenter = segmenter.to(resolve_device(options.get("device", "auto")))
    config = segmenter.config
    with evaluating(segmenter), open_scene(scene, config, bands, nodata_rule, mosaic, stack) as opened:
        require_fit(opened, config)
        asked, gsd = clipped(opened, aoi, bbox, bbox_crs), resolve_gsd(opened, gsd)
        # Of the whole raster, whatever is made of it next.
        options["stretch"] = resolve_stretch(opened, config, options.get("stretch"))
        if match_gsd:
            lengths = {name: options.pop(name, None) for name in ("window", "size", "overlap")}
            asked, lengths = matched(asked, config, gsd, **lengths)
            options |= lengths
        plan = make_plan(asked, segmenter, **options)
        if not match_gsd:
            say_if_unlike(plan, opened, config, gsd)
        yield plan, asked, segmenter


@dataclass(frozen=True)
class Files:
    """What a prediction writes."""

    output: Path
    scores: Path | None
    cog: bool
    options: Mapping[str, str]
    overwrite: bool
    qml: bool = False
    """Whether a style for QGIS is written beside the map."""

    def check(self, replacing: bool) -> None:
        """Raise OutputError or UsageError unless all files can be written."""
        for path in filter(None, (self.output, self.scores)):
            require_writable(path, self.overwrite or replacing)
        if self.qml:
            require_place(qml_path(self.output), self.overwrite or replacing)
        if self.scores and self.scores.absolute() == self.output.absolute():
            raise UsageError(f"{self.scores}: is the map itself; give the scores another name")


def _into_memory(plan: Plan, scene: SceneLike, segmenter: Segmenter, progress: bool) -> Prediction:
    grid = source_of(scene).grid
    bands = np.full((1 + plan.written_scores, *grid.shape), NODATA, np.uint8)
    with closing(_results(plan, scene, segmenter, progress=progress)) as results:
        for _, pending in results:
            for result in native_results(pending(), scene):
                if result.bands is not None:
                    bands[:, *result.window.slices] = result.bands
    if plan.least_patch:
        bands[0] = _sieved(bands[0], grid, plan.least_patch, scene.name)
    tally = AreaTally(grid)
    for window in blocks(grid.shape, TALLIED):
        tally.add(window, bands[0][window.slices])
    scores = bands[1:] if plan.written_scores else None
    return Prediction(None, grid, segmenter.legend, tally.counts, plan, tally.hectares, None, bands[0], scores)


def _sieved(codes: np.ndarray, grid: Grid, unit: MappingUnit, name: str) -> np.ndarray:
    """(H, W) codes without patches below a unit."""
    sieve = Sieve(lambda window: codes[window.slices], grid, unit)
    _say(sieve, name)
    smooth = np.empty_like(codes)
    for window, some in sieve:
        smooth[window.slices] = some
    return smooth


def _say(sieve: Sieve, name: str) -> None:
    for note in sieve.notes(name):
        log.info(note)


def _into_files(
    plan: Plan, scene: SceneLike, segmenter: Segmenter, files: Files, resume: bool, progress: bool
) -> Prediction:
    with Journal(files.output, plan, resume, files.overwrite) as journal:
        files.check(replacing=journal.complete)
        while True:
            try:
                return _write(journal, scene, segmenter, files, progress)
            except torch.OutOfMemoryError:
                journal.restart(with_half_the_batch(journal.plan))
                log.warning(
                    "%s: out of device memory; beginning again with batches of %d",
                    scene.name,
                    journal.plan.numerics.batch_shape[0],
                )
                torch.cuda.empty_cache()


def _write(journal: Journal, scene: SceneLike, segmenter: Segmenter, files: Files, progress: bool) -> Prediction:
    plan, legend, grid = journal.plan, segmenter.legend, source_of(scene).grid
    how = {"tags": provenance(plan, segmenter), "overwrite": files.overwrite or journal.complete, "cog": files.cog}
    with ExitStack() as stack:
        classes = stack.enter_context(ClassRasterWriter(files.output, grid, legend, **how, options=files.options))
        writers: list[RasterWriter] = [classes]
        if files.scores:
            names = score_band_names(plan.scores, legend)
            scores = ScoreRasterWriter(files.scores, grid, names, **how, options=files.options)
            writers.append(stack.enter_context(scores))
        if plan.least_patch is None:
            _write_shards(journal, scene, segmenter, writers, progress)
        else:
            raw = journal.folder / "raw.tif"
            with RasterWriter(raw, grid, 1, overwrite=True, overviews=False) as raw_writer:
                _write_shards(journal, scene, segmenter, [raw_writer, *writers[1:]], progress)
            _write_sieved(raw, plan.least_patch, classes, scene.name)
    if files.qml:
        replace_file(qml_path(files.output), class_raster_style(legend).encode())
    tally = classes.tally
    return Prediction(files.output, grid, legend, tally.counts, plan, tally.hectares, files.scores)


def _write_shards(
    journal: Journal, scene: SceneLike, segmenter: Segmenter, writers: Sequence[RasterWriter], progress: bool
) -> None:
    """Write the codes of all shards with the first of the writers, their scores with the second."""
    plan = journal.plan

    def store(item: tuple[bool, Pending]) -> None:
        """Journal one shard if it is new, and write it."""
        is_new, pending = item
        result = pending()
        if is_new:
            journal.add(result)
        for piece in native_results(result, scene):
            write(piece)

    def write(result: ShardResult) -> None:
        """Hand one piece of the map to the writers."""
        if result.bands is None:
            for writer in writers:
                writer.skip(result.window)
            return
        for writer, pixels in zip(writers, (result.codes, result.bands[1:]), strict=False):
            writer.write(result.window, pixels)

    with (
        write_behind(store) as hand_over,
        closing(_results(plan, scene, segmenter, journal, progress)) as results,
    ):
        for item in results:
            hand_over(item)
    require_unchanged(plan, scene)


def _write_sieved(raw: Path, unit: MappingUnit, writer: ClassRasterWriter, name: str) -> None:
    """Write a whole map without its patches below a unit."""
    with Scene(raw) as scene:
        sieve = Sieve(lambda window: scene.read_values(window)[0], scene.grid, unit)
        _say(sieve, name)
        sieve.write_to(writer)


def _results(
    plan: Plan,
    scene: SceneLike,
    segmenter: Segmenter,
    journal: Journal | None = None,
    progress: bool = False,
) -> Iterator[tuple[bool, Pending]]:
    """Every shard in the plan's order, and whether it is new: those that the journal has are not computed again."""
    engine = engine_of(plan, segmenter)
    height, width = plan.lattice.shape
    bar = tqdm(total=height * width, unit="px", unit_scale=True, disable=not progress, leave=False)
    with bar, reader_threads(reader_count(scene)) as readers:
        for column in plan.columns:
            for is_finished, group in groupby(column, key=lambda index: journal is not None and index in journal):
                if is_finished:
                    for index in group:
                        yield False, partial(journal.load, index)
                        bar.update(plan.shards[index].height * plan.shards[index].width)
                else:
                    pending = run_shards(plan, list(group), scene, engine, readers, bar.update)
                    yield from ((True, one) for one in pending)


def require_unchanged(plan: Plan, scene: SceneLike) -> None:
    """Raise InputError where a scene's files are not those of the plan any more."""
    if scene.describe() != plan.scene:
        raise InputError(f"{scene.name}: was changed while it was read; predict it again")


def source_files(scene: AnyScene) -> tuple[AnyFile, ...]:
    """The raster files that stand for a scene; none where something else does."""
    if isinstance(scene, (str, Path, Source)):
        return (scene,)
    return tuple(scene) if isinstance(scene, (list, tuple)) else ()


def open_scene(
    scene: AnyScene,
    config: SegmenterConfig,
    bands: Sequence[Band] | None = None,
    nodata_rule: AnyRule = "all",
    mosaic: bool = False,
    stack: bool = False,
) -> SceneLike:
    """A scene from whatever stands for one; of a file the bands that a model takes."""
    files = source_files(scene)
    if mosaic and stack:
        raise UsageError(
            "a stack joins bands of one place, a mosaic joins places; make a .vrt of each place's bands first"
        )
    if mosaic or stack:
        if not files:
            raise UsageError(f"a {'mosaic' if mosaic else 'stack'} is made of raster files; give their paths")
        return (open_mosaic if mosaic else open_stack)(files, config, bands, nodata_rule)
    if len(files) > 1:
        raise UsageError(
            f"{len(files)} files are one scene as a mosaic or a stack only: mosaic=True, stack=True, or predict each"
        )
    if files:
        return open_file(files[0], config, bands, nodata_rule)
    if isinstance(scene, rasterio.vrt.WarpedVRT):
        raise InputError(
            "a warped dataset in memory cannot be opened again by reading threads; write it to a .vrt file"
        )
    if isinstance(scene, rasterio.io.DatasetReader):
        # Whoever opened it chose its format.
        policy = OpeningPolicy(drivers=() if scene.driver in (*DRIVERS, "VRT") else (scene.driver,))
        return open_file(Source(scene.name, policy), config, bands, nodata_rule)
    return ArrayScene(scene) if isinstance(scene, np.ndarray) else scene


def provenance(plan: Plan, segmenter: Segmenter) -> dict[str, str]:
    """Tags that say how a class raster was made: no clock and no duration, so that equal runs give equal files."""
    settings = {"lattice": asdict(plan.lattice), "size": plan.size, "numerics": asdict(plan.numerics)}
    settings |= {"tta": plan.tta, "prior_tau": plan.prior_tau} | ({"stretch": plan.stretch} if plan.stretch else {})
    trained = segmenter.config.provenance
    settings |= {key: plan.scene[key] for key in ("factor",) if key in plan.scene}
    settings |= {key: value for key in ("min_area", "min_pixels") if (value := getattr(plan, key)) is not None}
    area = plan.scene.get("area") or plan.scene.get("source", {}).get("area")
    # Without its path, which is nobody's business.
    asked = {key: value for key, value in area.items() if key not in ("path", "wkb")} if area else None
    return {
        "GEOSEG_VERSION": geoseg.__version__,
        "GEOSEG_MODEL": Path(plan.model["path"]).name if plan.model["path"] else "in memory",
        "GEOSEG_MODEL_SHA256": plan.model["sha256"] or f"weights {plan.model['weights']}",
        "GEOSEG_MODEL_TRAINING": json.dumps(
            {key: trained[key] for key in ("setting", "data", "imported") if key in trained}
        ),
        "GEOSEG_INPUT": plan.scene["name"],
        "GEOSEG_SETTINGS": json.dumps(settings, sort_keys=True),
    } | ({"GEOSEG_AREA": json.dumps(asked, sort_keys=True)} if asked else {})


def require_other_file(scene: str | Path | Source, output: str | Path) -> None:
    """Raise UsageError where the output is the scene itself, under whatever name."""
    source = Source.of(scene)
    if source.local and Path(output).exists() and source.exists() and Path(source).samefile(output):
        raise UsageError(f"{output}: is the scene itself; give the map another name")


@contextmanager
def evaluating(segmenter: Segmenter) -> Iterator[None]:
    """The segmenter in evaluation mode for the length of a block, then in the mode it was in."""
    was_training = segmenter.training
    segmenter.eval()
    try:
        yield
    finally:
        segmenter.train(was_training)
