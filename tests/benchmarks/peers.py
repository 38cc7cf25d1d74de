"""Other tools on the same scene with the same trained network, each from a GeoTIFF to a class GeoTIFF.

    python tests/benchmarks/peers.py --model RUN --python monai=ENV/bin/python --python torchgeo=ENV2/bin/python ...

Each tool runs in the Python that is named for it, an environment of its own with the tool, timm, safetensors and
rasterio installed; geoseg itself is taken from this checkout there, for the network only. Two comparisons:

    documented   as each tool's guide has it: bf16 autocast, batches of 4; geoseg with its defaults
    alike        the same network made ready in the same way (folded, bf16, channels last) and batches of 1

Windows of 512 px overlap by 128 in all of them. Reading, blending, argmax and writing are each tool's own; where a
tool hands back an array it is written with rasterio.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import rasterio
import torch
from materials import large_scene, segmenter
from measure import Row, in_fresh_process, peak_mib, table

import geoseg
from geoseg.models.inference import for_inference
from geoseg.models.segmenter import Segmenter, TileBatch

WINDOW, OVERLAP = 512, 128
ALL = ["geoseg", "geoseg compiled", "monai", "pytorch-toolbelt", "tiler", "torchgeo", "geoai", "raster-vision"]


class Network(torch.nn.Module):
    """The model as other tools call it: (N, C, H, W) pixels in, float32 logits out; counts its time and pixels."""

    def __init__(self, loaded: Segmenter, alike: bool) -> None:
        super().__init__()
        self.segmenter, self.classes, self.scale = loaded, len(loaded.legend), 1.0
        self.seconds = self.pixels = 0.0
        if alike:
            self.engine: Callable = for_inference(self.segmenter, "bf16", "folded")
        else:
            self.segmenter.to(memory_format=torch.contiguous_format)
            self.engine = self._as_documented

    def _as_documented(self, tiles: TileBatch) -> torch.Tensor:
        whole = self.segmenter
        image = tiles.pixels.float() * whole.normalisation.gain + whole.normalisation.offset
        with torch.autocast("cpu", torch.bfloat16):
            return whole.network(image)

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        pixels = pixels if self.scale == 1 else pixels * self.scale
        logits = self.engine(TileBatch(pixels, torch.ones(1, *pixels.shape[-2:], dtype=torch.bool))).float()
        self.seconds += time.perf_counter() - start
        self.pixels += pixels.shape[0] * pixels.shape[2] * pixels.shape[3]
        return logits.clone()


def read(scene: str) -> np.ndarray:
    with rasterio.open(scene) as dataset:
        return dataset.read()


def write(codes: np.ndarray, scene: str, output: str) -> None:
    with rasterio.open(scene) as dataset:
        place = {"crs": dataset.crs, "transform": dataset.transform}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    shape = {"height": codes.shape[0], "width": codes.shape[1], "count": 1, "dtype": "uint8"}
    with rasterio.open(output, "w", driver="GTiff", **shape, **place, **layout) as dataset:
        dataset.write(codes.astype(np.uint8), 1)


def monai(scene: str, network: Network, batch: int, output: str) -> None:
    from monai.inferers import sliding_window_inference

    image = torch.from_numpy(read(scene))[None].float()
    options = {"overlap": OVERLAP / WINDOW, "mode": "gaussian"}
    scores = sliding_window_inference(image, (WINDOW, WINDOW), batch, network, **options)
    write(scores.argmax(1)[0].numpy(), scene, output)


def toolbelt(scene: str, network: Network, batch: int, output: str) -> None:
    from pytorch_toolbelt.inference.tiles import ImageSlicer, TileMerger
    from torch.utils.data import DataLoader

    image = np.ascontiguousarray(read(scene).transpose(1, 2, 0))
    slicer = ImageSlicer(image.shape[:2], WINDOW, WINDOW - OVERLAP, weight="pyramid")
    tiles = [torch.from_numpy(tile.transpose(2, 0, 1).copy()) for tile in slicer.split(image)]
    merger = TileMerger(slicer.target_shape, network.classes, slicer.weight, device="cpu")
    for pixels, crops in DataLoader(list(zip(tiles, slicer.crops, strict=True)), batch_size=batch):
        merger.integrate_batch(network(pixels), crops)
    scores = slicer.crop_to_orignal_size(merger.merge().numpy().transpose(1, 2, 0))
    write(scores.argmax(2), scene, output)


def tiler(scene: str, network: Network, batch: int, output: str) -> None:
    from tiler import Merger, Tiler

    image = read(scene)

    def lay(bands: int, shape: Sequence[int]) -> Tiler:
        tile, overlap = (bands, WINDOW, WINDOW), (0, OVERLAP, OVERLAP)
        return Tiler(data_shape=(bands, *shape), tile_shape=tile, overlap=overlap, channel_dimension=0)

    shape, padding = lay(len(image), image.shape[1:]).calculate_padding()
    padded = np.pad(image, padding, mode="reflect")
    merger = Merger(lay(network.classes, shape[1:]), window="hann")
    for number, pixels in lay(len(image), shape[1:])(padded, batch_size=batch):
        merger.add_batch(number, batch, network(torch.from_numpy(pixels)).numpy())
    write(merger.merge(unpad=True, extra_padding=padding, dtype=np.float32).argmax(0), scene, output)


def torchgeo(scene: str, network: Network, batch: int, output: str) -> None:
    """Stitching is left to the user there: each patch's classes go to the place of its bounds, the last one wins."""
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset, stack_samples
    from torchgeo.samplers import GriddedPatchSampler

    dataset = RasterDataset(scene)
    sampler = GriddedPatchSampler(dataset, size=WINDOW, stride=WINDOW - OVERLAP)
    with rasterio.open(scene) as opened:
        transform, shape = opened.transform, opened.shape
    codes = np.zeros(shape, np.uint8)
    for sample in DataLoader(dataset, batch_size=batch, sampler=sampler, collate_fn=stack_samples):
        for bounds, logits in zip(sample["bounds"], network(sample["image"]), strict=True):
            col, row = (round(float(v)) for v in ~transform @ (float(bounds[0]), float(bounds[4])))
            top, left = max(row, 0), max(col, 0)
            bottom, right = min(row + WINDOW, shape[0]), min(col + WINDOW, shape[1])
            codes[top:bottom, left:right] = logits.argmax(0)[top - row : bottom - row, left - col : right - col]
    write(codes, scene, output)


def geoai(scene: str, network: Network, batch: int, output: str) -> None:
    from geoai.train import semantic_inference_on_geotiff

    network.scale = 255
    sizes = {"window_size": WINDOW, "overlap": OVERLAP, "batch_size": batch}
    kind = {"num_channels": 3, "num_classes": network.classes, "device": torch.device("cpu"), "quiet": True}
    semantic_inference_on_geotiff(network, scene, output, **sizes, **kind)


def raster_vision(scene: str, network: Network, batch: int, output: str) -> None:
    from rastervision.core.data import ClassConfig
    from rastervision.core.data.label import SemanticSegmentationLabels
    from rastervision.pytorch_learner import (
        SemanticSegmentationGeoDataConfig,
        SemanticSegmentationLearner,
        SemanticSegmentationLearnerConfig,
        SemanticSegmentationSlidingWindowGeoDataset,
        SolverConfig,
    )

    network.scale = 255
    classes = ClassConfig(names=[f"class {number}" for number in range(network.classes)], null_class="class 0")
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    config = SemanticSegmentationLearnerConfig(data=data, solver=SolverConfig(batch_sz=batch))
    with tempfile.TemporaryDirectory() as folder:
        learner = SemanticSegmentationLearner(config, model=network, training=False, output_dir=folder)
        dataset = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
            image_uri=scene, size=WINDOW, stride=WINDOW - OVERLAP, out_size=WINDOW
        )
        predictions = learner.predict_dataset(dataset, raw_out=True, numpy_out=True, progress_bar=False)
        labels = SemanticSegmentationLabels.from_predictions(
            dataset.windows, predictions, extent=dataset.scene.extent, num_classes=network.classes, smooth=True
        )
        source = dataset.scene.raster_source
        labels.save(folder, crs_transformer=source.crs_transformer, class_config=classes)
        Path(folder, "labels.tif").replace(output)


TOOLS = {"monai": monai, "pytorch-toolbelt": toolbelt, "tiler": tiler, "torchgeo": torchgeo, "geoai": geoai}
TOOLS["raster-vision"] = raster_vision


def once(tool: str, scene: str, model: str, alike: bool) -> Row:
    """One run of one tool in this process."""
    with tempfile.TemporaryDirectory() as folder:
        output = str(Path(folder, "map.tif"))
        loaded = segmenter(model)
        options = {"window": WINDOW, "size": WINDOW, "overlap": OVERLAP, "precision": "bf16"}
        if tool == "geoseg compiled":
            options["engine"] = "compiled"
        start = time.perf_counter()
        # Making the network ready is part of it, in geoseg's own runs too.
        if tool in TOOLS:
            network = Network(loaded, alike)
            TOOLS[tool](scene, network, 1 if alike else 4, output)
        else:
            plan = geoseg.predict(scene, loaded, output, **options).plan
        wall = time.perf_counter() - start
        with rasterio.open(output) as written, rasterio.open(scene) as given:
            if written.shape != given.shape or written.transform != given.transform:
                raise SystemExit(f"{tool}: the map is not on the scene's grid")
            megapixels = written.width * written.height / 1e6
    forwarded = network.pixels / megapixels / 1e6 if tool in TOOLS else plan.repeated_work
    share = f"{network.seconds / wall:.2f}" if tool in TOOLS else "-"
    return {
        "tool": tool,
        "Mpx/s": megapixels / wall,
        "network's share": share,
        "forwarded / scene px": float(forwarded),
        "peak MiB": f"{peak_mib():.0f}",
    }


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "once":
        print(json.dumps(once(**json.loads(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", type=Path, default=Path("benchmark"))
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--python", action="append", default=[], metavar="TOOL=PYTHON")
    parser.add_argument("--comparison", choices=["documented", "alike", "both"], default="both")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    pythons = dict(pair.split("=", 1) for pair in args.python)
    os.environ["PYTHONPATH"] = str(Path(geoseg.__file__).parents[1])
    place = {"scene": large_scene(args.work, args.side), "model": args.model}
    for alike in [False, True] if args.comparison == "both" else [args.comparison == "alike"]:
        rows = []
        for tool in [tool for tool in ALL if tool in pythons or tool not in TOOLS]:
            python = pythons.get(tool, sys.executable)
            what = {"tool": tool, "alike": alike, **place}
            runs = [in_fresh_process(Path(__file__), "once", python, **what) for _ in range(args.runs)]
            rows.append(sorted(runs, key=lambda row: row["Mpx/s"])[len(runs) // 2])
        ours = rows[0]["Mpx/s"]
        for row in rows:
            row["geoseg is faster"] = f"{ours / row['Mpx/s']:.2f} x"
        table(f"{'Alike' if alike else 'Documented'}, {args.side} px, windows of {WINDOW} px", rows)


if __name__ == "__main__":
    main()
