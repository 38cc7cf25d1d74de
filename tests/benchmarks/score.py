"""What scoring costs against reading the two rasters alone, and how much memory it takes.

    python tests/benchmarks/score.py speed | memory | all

Tables go to stdout as Markdown. Maps and truths of SYNTHETIC land are made once in ``--work``. Machines are shared and
noisy: read the ratios, of which each row has its own.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import rasterio
from materials import PATTERN
from measure import Row, in_fresh_process, peak_mib, table

import geoseg
from geoseg.ahead import read_ahead, reader_threads
from geoseg.datasets.synthetic import draw_scene
from geoseg.grid import Grid, Window
from geoseg.legend import DEEPGLOBE
from geoseg.raster.scene import Scene
from geoseg.raster.writer import ClassRasterWriter
from geoseg.scoring.joining import JoinedLegends
from geoseg.scoring.tally import WINDOW, PairReader, Rules, compared_windows
from geoseg.tiling import blocks


def class_raster(folder: Path, side: int, moved: int = 0) -> Path:
    """A class raster as geoseg writes it, of ``side`` x ``side`` pixels, made once.

    ``moved`` pixels to the right it is a map with errors along every border.
    """
    path = folder / f"classes-{side}-{moved}.tif"
    if path.exists():
        return path
    from affine import Affine
    from rasterio.crs import CRS

    _, truth = draw_scene((PATTERN, PATTERN), 1, 0)
    codes = np.roll(truth, moved, axis=1)
    grid = Grid(CRS.from_epsg(32633), Affine(2, 0, 500_000, 0, -2, 5_600_000), (side, side))
    with ClassRasterWriter(path, grid, DEEPGLOBE) as writer:
        for row in range(0, side, PATTERN):
            height = min(PATTERN, side - row)
            strip = np.concatenate([codes[:height]] * math.ceil(side / PATTERN), axis=1)[:, :side]
            writer.write(Window(row, 0, height, side), strip)
    return path


def speed(truth: str, prediction: str, **options) -> Row:
    """Mpx/s of the truth, and scoring's time over reading's: as scripts read, and by as many threads as scoring has.

    Ratios are medians over runs in turn. That of processor time is the one to trust where other programs run beside.
    """
    score = partial(geoseg.score, prediction, truth, DEEPGLOBE, **options)
    score()
    calls = partial(read_plainly, truth, prediction), partial(read_threaded, truth, prediction), score
    runs = np.array([[cost(call) for call in calls] for _ in range(7)])
    (plain, threaded, scored), _ = np.median(runs, axis=0).T
    with Scene(truth) as scene:
        megapixels = math.prod(scene.grid.shape) / 1e6
    over = np.median(runs[:, 2:] / runs[:, :2], axis=0)
    return {
        "pair": Path(prediction).name,
        "options": json.dumps(options) if options else "-",
        "Mpx": megapixels,
        "read plainly, Mpx/s": float(megapixels / plain),
        "read by threads, Mpx/s": float(megapixels / threaded),
        "score, Mpx/s": float(megapixels / scored),
        "score / read plainly": float(over[0, 0]),
        "score / read by threads": float(over[1, 0]),
        "processor time, score / read by threads": float(over[1, 1]),
    }


def read_plainly(truth: str, prediction: str) -> None:
    """Read windows of both rasters by rasterio, and do nothing."""
    with rasterio.open(truth) as first, rasterio.open(prediction) as second:
        for window in blocks(first.shape, WINDOW):
            first.read(1, window=window.to_rasterio())
            second.read(1, window=window.to_rasterio())


def cost(call: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, processor seconds of all threads) of a call."""
    begun, before = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - begun, time.process_time() - before


def read_threaded(truth: str, prediction: str) -> None:
    """Read both rasters as scoring does, and do nothing."""
    reader = PairReader(Path(prediction), Path(truth), Rules(JoinedLegends.of_one(DEEPGLOBE)))
    windows = compared_windows(reader.truths)

    def both(window: Window) -> None:
        reader.truths.scene.read_values(window)
        reader.maps.scene.read_values(window)

    with reader_threads(reader.threads) as readers:
        for _ in read_ahead(readers, (partial(both, window) for window in windows), depth=2):
            pass
    reader.close()


def memory(truth: str, prediction: str, **options) -> Row:
    """Peak resident memory in MiB, before and after."""
    import torch  # noqa: F401

    before = peak_mib()
    report = geoseg.score(prediction, truth, DEEPGLOBE, **options)
    return {
        "pair": Path(prediction).name,
        "options": json.dumps(options) if options else "-",
        "before": before,
        "after": peak_mib(),
        "mean IoU": report.mean_iou,
    }


TASKS = {"speed": speed, "memory": memory}


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[2].startswith("{"):
        print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "all"])
    parser.add_argument("--work", type=Path, default=Path("benchmark"), help="maps and truths")
    parser.add_argument("--pair", type=Path, nargs=2, metavar=("PRED", "TRUTH"), help="of DeepGlobe's codes, instead")
    parser.add_argument("--sides", type=int, nargs="+", default=[4096, 16384], help="of the rasters in pixels")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    run = partial(in_fresh_process, Path(__file__).resolve())
    made = [(class_raster(args.work, side), class_raster(args.work, side, moved=5)) for side in args.sides]
    pairs = [tuple(args.pair[::-1])] if args.pair else made
    truth, prediction = pairs[0]
    asked = [{}, {"block": 512}, {"boundary": 10.0}]
    if args.what in ("speed", "all"):
        rows = [run("speed", truth=pair[0], prediction=pair[1]) for pair in pairs]
        rows += [run("speed", truth=truth, prediction=prediction, **options) for options in asked[1:]]
        table("Scoring against reading", rows)
    if args.what in ("memory", "all"):
        rows = [run("memory", truth=pair[0], prediction=pair[1], **options) for options in asked for pair in pairs]
        table("Peak memory of scoring, MiB", rows)


if __name__ == "__main__":
    main()
