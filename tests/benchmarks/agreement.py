"""What shortcuts change in the map: precision and engine against plain fp32, and seams by blend and overlap.

    python tests/benchmarks/agreement.py engines | seams | all

Uses the trained model of ``--work`` (made on first use) and its test scenes, or ``--model RUN --data DATA``.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from materials import large_scene, segmenter, trained_model
from measure import Row, table

import geoseg
from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.splits import resolve_split
from geoseg.models.segmenter import Segmenter
from geoseg.prediction import stitching
from geoseg.raster.labels import Labels
from geoseg.raster.scene import ArrayScene, Scene

ENGINES = [(engine, precision) for precision in ("fp32", "bf16") for engine in ("plain", "folded", "compiled")]
CLEAR = 0.02
"""Lead of the best class's score over the second above which a pixel counts as clear."""
Blend = Callable[..., torch.Tensor]


def share(length: int, overlap: int, device: torch.device | None = None) -> torch.Tensor:
    """(length,) share of the overlap that lies between a pixel and its window's border, 1 inside."""
    steps = torch.arange(length, device=device)
    return ((torch.minimum(steps, length - 1 - steps) + 1) / (overlap + 1)).clamp(max=1)


BLENDS: dict[str, Blend] = {
    "uniform": lambda *place: torch.ones_like(share(*place)),
    "linear": share,
    "cosine": lambda *place: (1 - torch.cos(share(*place) * torch.pi)) / 2,
    "power 3": lambda *place: share(*place) ** 3,
    "power 8 (geoseg)": stitching.taper,
    "power 30": lambda *place: (share(*place) ** 30).clamp(min=1e-18),
}
"""Weights along one side of a window."""
SEAM_SIDE, SEAM_WINDOW = 2432, 512
"""The windows of a quarter's overlap fill the side exactly: all lie on the network's own stride."""
NEAR, RIM = 16, 64
"""Pixels from a window's border that count as near it; pixels at the scene's own border that are left out."""


@dataclass
class Reference:
    """What plain fp32 made of a scene."""

    codes: np.ndarray
    clear: np.ndarray


def engines(network: Segmenter, data: Path, count: int) -> list[Row]:
    """Each engine and precision on ``count`` test scenes: pixels that agree, mean IoU, speed."""
    dataset = open_dataset(data)
    pairs = resolve_split(dataset).test[:count]
    references: dict[str, Reference] = {}
    return [compare(network, pairs, engine, precision, references) for engine, precision in ENGINES]


def compare(network: Segmenter, pairs, engine: str, precision: str, references: dict[str, Reference]) -> Row:
    matrix = ConfusionMatrix.empty(len(network.legend), network.legend.ignored)
    same = clear_same = clear = total = 0
    options = {"engine": engine, "precision": precision, "scores": "margin", "device": "auto"}
    geoseg.predict(pairs[0].image, network, **options)
    spent = 0.0
    for pair in pairs:
        start = time.perf_counter()
        found = geoseg.predict(pair.image, network, **options)
        spent += time.perf_counter() - start
        reference = references.setdefault(pair.stem, Reference(found.codes, found.scores[0] > CLEAR * 254))
        agree = found.codes == reference.codes
        same, total = same + agree.sum(), total + agree.size
        clear_same, clear = clear_same + agree[reference.clear].sum(), clear + reference.clear.sum()
        truth = Labels(pair.labels, network.legend).read()
        index = network.legend.decode(found.codes, source="prediction")
        matrix += ConfusionMatrix.from_pair(truth, index, len(network.legend), network.legend.ignored)
    return {
        "precision": precision,
        "engine": engine,
        "agrees, %": f"{100 * same / total:.3f}",
        f"where the lead > {CLEAR}, %": f"{100 * clear_same / clear:.4f}",
        "mean IoU": f"{matrix.mean_iou():.5f}",
        "Mpx/s": total / 1e6 / spent,
    }


def seams(network: Segmenter, scene: Path, window: int, precision: str) -> list[Row]:
    """Pixels that differ from one pass over the whole scene, near the borders of windows and elsewhere."""
    with Scene(scene) as opened:
        pixels = opened.read()[0]
    side = pixels.shape[1]
    whole = geoseg.predict(ArrayScene(pixels), network, window=side, size=side, overlap=0, precision="fp32").codes
    rows = []
    for overlap in (0, window // 8, window * 3 // 16, window // 4):
        for name, blend in BLENDS.items():
            if overlap == 0 and name != "uniform":
                continue
            found = tiled(pixels, network, window, overlap, precision, blend)
            rows.append({"overlap": overlap, "blend": name if overlap else "none", **differing(whole, found)})
    return rows


def tiled(pixels: np.ndarray, network: Segmenter, window: int, overlap: int, precision: str, blend: Blend):
    kept = stitching.taper
    try:
        stitching.taper = blend
        options = {"window": window, "size": window, "overlap": overlap, "precision": precision}
        return geoseg.predict(ArrayScene(pixels), network, **options)
    finally:
        stitching.taper = kept


def differing(whole: np.ndarray, found: geoseg.Prediction) -> Row:
    lattice = found.plan.lattice
    row_near, col_near = (near(firsts, lattice.side, whole.shape[0]) for firsts in (lattice.rows, lattice.cols))
    close = row_near[:, None] | col_near[None]
    inner = np.zeros_like(close)
    inner[RIM:-RIM, RIM:-RIM] = True
    wrong = whole != found.codes
    at, off = 100 * wrong[close & inner].mean(), 100 * wrong[~close & inner].mean()
    return {
        "near, %": f"{at:.4f}",
        "elsewhere, %": f"{off:.4f}",
        "near / elsewhere": f"{at / off:.2f}" if off else "-",
        "all, %": f"{100 * wrong[inner].mean():.4f}",
        "forwarded / scene px": found.plan.repeated_work,
    }


def near(firsts: list[int], side: int, length: int) -> np.ndarray:
    line = np.zeros(length, bool)
    for border in {edge for first in firsts for edge in (first, first + side) if 0 < edge < length}:
        line[max(border - NEAR, 0) : border + NEAR] = True
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["engines", "seams", "all"])
    parser.add_argument("--work", type=Path, default=Path("benchmark"))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--window", type=int, default=SEAM_WINDOW)
    parser.add_argument("--side", type=int, default=SEAM_SIDE)
    parser.add_argument("--precision", default="fp32", help="of the tiled maps whose seams are counted")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    run, data = (args.model, args.data) if args.model else trained_model(args.work)
    network = segmenter(run)
    if args.what in ("engines", "all"):
        table("Against plain fp32", engines(network, data, args.scenes))
    if args.what in ("seams", "all"):
        scene = large_scene(args.work, args.side)
        table(
            f"Seams, {args.precision}, windows of {args.window} px", seams(network, scene, args.window, args.precision)
        )


if __name__ == "__main__":
    main()
