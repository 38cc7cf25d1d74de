"""Damaged rasters, one after the other: each must read as it was, read as another, or be refused in one line.

Run by test_fuzz.py for some seconds, and by hand for longer: python tests/raster/fuzz.py SEED SECONDS. It prints a line
of JSON with the number of cases by outcome, and one for each case that went wrong. A crash or a hang ends the process;
the file "case" in the working folder is then the one that did it.
"""

from __future__ import annotations

import faulthandler
import io
import json
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from PIL import Image

from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.raster.scene import Scene

SHAPE = 96, 131
MOST_MEMORY = 6 << 30
"""Bytes of address space: no case may need more."""
HANG = 30
"""Seconds after which a case counts as one that hangs."""
READ = 512
"""Side of the windows that are read: a damaged header may declare any size."""
TIFFS = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 32},
    "deflate": {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate", "nodata": 0},
    "predictor": {"compress": "deflate", "predictor": 2},
    "zstd": {"compress": "zstd", "interleave": "band", "nodata": 0},
    "lzw": {"compress": "lzw", "tiled": True, "blockxsize": 64, "blockysize": 64},
    "packbits": {"compress": "packbits"},
    "lerc": {"compress": "lerc"},
    "jpeg": {"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64, "photometric": "ycbcr"},
    "big": {"BIGTIFF": "YES", "tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"},
}
CHECKED = "picture", "lerc"
"""Formats that check each pixel: a flipped bit is never read as other pixels."""


def whole_rasters(folder: Path) -> dict[str, bytes]:
    """One file of each format by its name, with an ending."""
    pixels = np.random.default_rng(3).integers(1, 255, (9, 12, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pixels).resize(SHAPE[::-1], Image.Resampling.BICUBIC))
    found = {}
    for name, layout in TIFFS.items():
        path = folder / f"{name}.tif"
        shape = {"count": 3, "height": SHAPE[0], "width": SHAPE[1], "dtype": "uint8", "crs": "EPSG:32631"}
        options = {"interleave": "pixel"} | shape | layout
        with rasterio.open(path, "w", driver="GTiff", transform=Affine(2, 0, 5, 0, -2, 7), **options) as dataset:
            dataset.write(np.moveaxis(pixels, -1, 0))
        found[path.name] = path.read_bytes()
    with rasterio.open(folder / "tiles.tif") as dataset:
        rasterio.shutil.copy(dataset, folder / "plain.vrt", driver="VRT")
        rasterio.shutil.copy(dataset, folder / "whole.jp2", driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    found |= {name: (folder / name).read_bytes() for name in ("plain.vrt", "whole.jp2")}
    for name, options in {
        "picture.png": {},
        "a.jpg": {"quality": 90},
        "b.jpg": {"quality": 90, "progressive": True},
    }.items():
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG" if name.endswith("png") else "JPEG", **options)
        found[name] = data.getvalue()
    return found


def damaged(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """What was done, and the file after it."""
    data, kind = bytearray(content), str(random.choice(["cut", "flip", "flips", "zeros", "noise", "doubled", "number"]))
    # Half of the time near the beginning, where the header is.
    most = len(data) if random.random() < 0.5 else min(len(data), 600)
    place, length = int(random.integers(most)), int(random.integers(1, 40))
    if kind == "cut":
        return kind, bytes(data[:place])
    if kind == "doubled":
        return kind, bytes(data[:place] + data[place : place + length] + data[place:])
    if kind == "number":
        data[place : place + 4] = random.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\0\0"])
    elif kind in ("flip", "flips"):
        for where in [place, *random.integers(len(data), size=0 if kind == "flip" else 5)]:
            data[where] ^= 1 << int(random.integers(8))
    else:
        data[place : place + length] = bytes(length) if kind == "zeros" else random.bytes(length)
    return kind, bytes(data[: len(content)])


def read(path: Path) -> dict[str, object]:
    """Pixels, validity and size; raises GeosegError."""
    with Scene(path) as scene:
        height, width = scene.grid.shape
        window = Window(0, 0, min(height, READ), min(width, READ))
        pixels, valid = scene.read(window)
        if window != scene.grid.window:
            scene.read(Window(max(height - 40, 0), max(width - 40, 0), min(height, 40), min(width, 40)))
        return {"shape": (height, width), "pixels": pixels, "valid": valid, "data": scene.has_data(window)}


def same(first: dict[str, object], second: dict[str, object]) -> bool:
    return all(np.array_equal(first[key], second[key]) for key in first)


def outcome(path: Path, kind: str, expected: dict[str, object]) -> str:
    """ "refused", "same", "another", or what is wrong with it."""
    try:
        found = read(path)
    except GeosegError as error:
        return "refused" if "\n" not in str(error) and str(path) in str(error) else f"WRONG: said {str(error)!r}"
    except Exception as error:
        return f"WRONG: raised {error!r}"
    if same(found, expected):
        return "same"
    checked = kind.startswith("flip") and path.name.startswith(CHECKED) and found["shape"] == SHAPE
    if kind == "cut" or checked:
        return "WRONG: read as other pixels"
    return "another"


def main(seed: int, seconds: float, folder: Path) -> Counter:
    """Count the outcomes; prints each that is wrong."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    warnings.simplefilter("ignore")
    rasters, counts, random, begun = whole_rasters(folder), Counter(), np.random.default_rng(seed), time.monotonic()
    expected = {}
    for name, content in rasters.items():
        (folder / name).write_bytes(content)
        expected[name] = read(folder / name)
    while time.monotonic() - begun < seconds:
        name = str(random.choice(list(rasters)))
        kind, content = damaged(rasters[name], random)
        path = folder / name.replace(".", "-damaged.")
        path.write_bytes(content)
        faulthandler.dump_traceback_later(HANG, exit=True)
        found = outcome(path, kind, expected[name])
        faulthandler.cancel_dump_traceback_later()
        counts[found if not found.startswith("WRONG") else "wrong"] += 1
        if found.startswith("WRONG"):
            kept = folder / f"wrong-{counts['wrong']}-{kind}-{name}"
            kept.write_bytes(content)
            print(json.dumps({"file": str(kept), "case": f"{kind} {name}", "outcome": found}), flush=True)
    return counts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        where = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(temporary)
        print(json.dumps(main(int(sys.argv[1]), float(sys.argv[2]), where)))
