"""The pictures of the documentation, made by the program from the tutorial's synthetic scene: make pictures.

    python docs/pictures.py FOLDER

FOLDER holds what the tutorial leaves; what is not there yet is made first, by the tutorial's own commands (some five
minutes). The pictures are written to docs/images.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from PIL import Image

import geoseg
from geoseg.prediction.stitching import taper
from geoseg.raster.labels import Labels
from geoseg.tiling import Lattice

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS / "_ext"))

from blocks import code_blocks, shell_lines  # noqa: E402

IMAGES = DOCS / "images"
INK, QUIET, ACCENT, WARM = "#22303c", "#8a97a3", "#1d6b45", "#d1495b"
SIDE, OVERLAP = 128, 32
STYLE = {
    "font.size": 9,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.dpi": 160,
}


def main() -> None:
    folder = Path(sys.argv[1])
    follow_the_tutorial(folder)
    plt.rcParams.update(STYLE)
    with contextlib.chdir(folder):
        draw_tutorial()
        draw_areas()
        draw_pixels()
        draw_tiles()
        draw_blending()
        draw_seams()


def follow_the_tutorial(folder: Path) -> None:
    """Type its commands and run its Python, in order, unless that was done."""
    if (folder / "labelled.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for block in code_blocks((DOCS / "tutorial.md").read_text(encoding="utf-8")):
        if block.language == "python":
            subprocess.run([sys.executable, "-c", block.code], cwd=folder, check=True)
        for line in shell_lines(block.code) if block.language == "bash" else ():
            if line.startswith("geoseg "):
                path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
                subprocess.run(line, shell=True, cwd=folder, check=True, env=os.environ | {"PATH": path})


def save(figure: plt.Figure, name: str) -> None:
    """As a PNG of few colours, which is a third as large."""
    path = IMAGES / name
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    shrink(path)


def shrink(path: Path) -> None:
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def draw_tutorial() -> None:
    """Scene, truth, map, differences."""
    with geoseg.Scene("data/scene.tif") as scene:
        pixels, _ = scene.read()
    legend = geoseg.DEEPGLOBE
    truth, predicted = (Labels(path, legend).read() for path in ("data/truth.tif", "map.tif"))
    wrong = np.where(truth == predicted, pixels // 2, np.array([230, 30, 30])[:, None, None]).astype(np.uint8)
    pictures = {
        "scene (synthetic)": pixels,
        "truth": legend.to_rgb(truth),
        "map": legend.to_rgb(predicted),
        "differences in red": wrong,
    }
    figure, axes = plt.subplots(1, 4, figsize=(10.6, 3.1), layout="constrained")
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(np.moveaxis(picture, 0, -1), interpolation="nearest")
        ax.set_title(title)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    scored = [legend.classes[index] for index in legend.scored]
    keys = [Patch(facecolor=np.array(c.colour) / 255, edgecolor=QUIET, linewidth=0.6, label=c.name) for c in scored]
    figure.legend(handles=keys, loc="outside lower left", ncols=len(keys), frameon=False, handlelength=1.1)
    save(figure, "tutorial.png")


def draw_areas() -> None:
    """Counted pixels, the estimate with its interval, and the truth, which of real land nobody knows."""
    found = geoseg.estimate_areas("map.tif", "labelled.csv", drop_unlabelled=True)
    report = geoseg.score("map.tif", "data/truth.tif").to_dict()
    figure, axes = plt.subplots(1, len(found.classes), figsize=(8.2, 2.3), layout="constrained")
    for place, (name, ax) in enumerate(zip(found.classes, axes, strict=True)):
        low, value, high = (float(getattr(found.area, end)[place]) for end in ("low", "value", "high"))
        truth = report["classes"][name]["truth_hectares"]
        ax.errorbar(1, value, [[value - low], [high - value]], fmt="o", color=ACCENT, capsize=4, label="estimated")
        ax.plot(0, found.mapped[place], "s", color=WARM, label="counted")
        ax.axhline(truth, color=QUIET, linestyle="--", linewidth=1, label="true")
        ax.set(title=name, xlim=(-0.7, 1.7), xticks=[])
        ax.margins(y=0.25)
    axes[0].set_ylabel("hectares")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    save(figure, "areas.png")


def draw_pixels() -> None:
    """A window of a grid: how rows, columns and corners are counted, and what valid means."""
    figure, ax = plt.subplots(figsize=(4.6, 3.5), layout="constrained")
    rng = np.random.default_rng(4)
    ax.imshow(rng.uniform(0.72, 0.95, (6, 8)), cmap="gray", vmin=0, vmax=1, extent=(0, 8, 6, 0))
    for row, col in ((0, 0), (0, 1), (1, 0), (0, 2), (2, 0)):
        ax.add_patch(Rectangle((col, row), 1, 1, facecolor=INK, alpha=0.75))
    ax.set(xticks=range(9), yticks=range(7), xlabel="column", ylabel="row")
    ax.grid(color="white", linewidth=1.2)
    ax.xaxis.set_label_position("top")
    ax.xaxis.tick_top()
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.add_patch(Rectangle((3, 2), 4, 3, fill=False, edgecolor=ACCENT, linewidth=2.5, zorder=4))
    ax.text(3.1, 1.85, "Window(2, 3, 3, 4)", color=ACCENT, weight="bold", va="bottom")
    ax.plot(0, 0, "o", color=WARM, clip_on=False, zorder=5)
    ax.text(0.1, 0.5, "no data:\nvalid is False", color="white", fontsize=7, va="center")
    ax.plot(3, 2, "o", color=WARM, zorder=5)
    ax.annotate(
        "transform @ (3, 2): a pixel's corner,\nnever its middle",
        (3, 2),
        (0.1, 5.75),
        color=WARM,
        fontsize=8,
        arrowprops={"arrowstyle": "->", "color": WARM},
    )
    save(figure, "pixels.png")


def draw_tiles() -> None:
    """The lattice over the scene, and how often each pixel is looked at."""
    with geoseg.Scene("data/scene.tif") as scene:
        pixels, _ = scene.read()
        lattice = Lattice(scene.grid.shape, SIDE, OVERLAP)
    seen = np.zeros(lattice.shape, int)
    for window in lattice:
        seen[window.slices] += 1
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.8), layout="constrained")
    for ax in (left, right):
        ax.set_axis_off()
    left.imshow(np.moveaxis(pixels, 0, -1))
    for number, window in enumerate(lattice):
        first = number in (0, 1, len(lattice.cols))
        style = {"edgecolor": "white", "linewidth": 0.5, "alpha": 0.55}
        if first:
            style = {"edgecolor": ("#ffd166", "#ff7b89", "#7fd1a3")[min(number, 2)], "linewidth": 2.2, "zorder": 4}
        left.add_patch(Rectangle((window.col, window.row), window.width, window.height, fill=False, **style))
    left.set_title(f"{len(lattice)} windows of {SIDE} px; three of them marked")
    shown = right.imshow(seen, cmap=plt.get_cmap("YlGn", 3), vmin=0.5, vmax=4.5)
    shown.set_cmap(plt.get_cmap("YlGn", 4))
    right.set_title(f"windows that see a pixel: {seen.mean():.2f} on average")
    figure.colorbar(shown, ax=right, ticks=[1, 2, 4], shrink=0.7)
    save(figure, "tiles.png")


def draw_blending() -> None:
    """How much each of two neighbouring tiles decides in the pixels that they share."""
    shared, around = 32, 12
    left = taper(SIDE, shared)[-shared:].numpy().astype(float)
    right = left[::-1]
    place = np.arange(shared)
    steps = (np.arange(shared) + 1) / (shared + 1)
    figure, axes = plt.subplots(1, 3, figsize=(8.2, 2.4), sharey=True, layout="constrained")
    blends = {
        "plain mean": np.full(shared, 0.5),
        "linear": 1 - steps,
        "geoseg: the 8th power": left / (left + right),
    }
    for ax, (name, share) in zip(axes, blends.items(), strict=True):
        x = np.concatenate([np.arange(-around, 0), place, np.arange(shared, shared + around)])
        whole = np.concatenate([np.ones(around), share, np.zeros(around)])
        ax.fill_between(x, whole, color=ACCENT, alpha=0.85, linewidth=0, step="mid")
        ax.fill_between(x, whole, 1, color="#ffd166", alpha=0.85, linewidth=0, step="mid")
        ax.axvspan(0, shared - 1, ymax=1, fill=False, edgecolor=INK, linewidth=0.8, linestyle=":")
        ax.set(title=name, xlabel="column", xticks=(0, shared - 1), xticklabels=("right begins", "left ends"))
        ax.margins(0)
    axes[0].set_ylabel("share in the decision")
    axes[0].text(-around + 1, 0.1, "left tile", color="white", weight="bold")
    axes[0].text(shared + around - 1, 0.86, "right tile", color=INK, weight="bold", ha="right")
    save(figure, "blending.png")


def draw_seams() -> None:
    """Where maps made of windows differ from one pass over the whole scene."""
    model = geoseg.load("runs/first")
    with geoseg.Scene("data/scene.tif") as scene:
        shape = scene.grid.shape
        plain = {"precision": "fp32", "engine": "plain"}
        whole = geoseg.predict(scene, model, window=max(shape), size=max(shape), **plain).codes
        figure, axes = plt.subplots(1, 3, figsize=(8.2, 3.0), layout="constrained")
        for ax, overlap in zip(axes, (0, OVERLAP // 2, OVERLAP), strict=True):
            codes = geoseg.predict(scene, model, window=SIDE, overlap=overlap, **plain).codes
            show_differences(ax, codes != whole, Lattice(shape, SIDE, overlap), overlap)
    save(figure, "seams.png")


def show_differences(ax: Axes, differs: np.ndarray, lattice: Lattice, overlap: int) -> None:
    ax.imshow(np.where(differs[..., None], (209, 73, 91), (238, 241, 243)).astype(np.uint8), interpolation="nearest")
    for window in lattice:
        ax.add_patch(
            Rectangle(
                (window.col, window.row), window.width, window.height, fill=False, edgecolor=QUIET, linewidth=0.35
            )
        )
    ax.set_axis_off()
    ax.set_title(f"{overlap} px of overlap: {differs.mean():.1%} of the pixels differ")


if __name__ == "__main__":
    main()
