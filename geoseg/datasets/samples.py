"""Samples: what the network sees in training, as arrays of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from geoseg.datasets.balance import Balance
from geoseg.datasets.dataset import Pair
from geoseg.errors import InputError, UsageError
from geoseg.grid import Window, require_same_shape
from geoseg.legend import NO_CLASS, Legend
from geoseg.prediction.plan import scaled
from geoseg.raster.bands import Band
from geoseg.raster.labels import Flaws
from geoseg.raster.resample import area, nearest
from geoseg.raster.scene import AnyRule, ArrayScene, Scene, SceneLike
from geoseg.raster.vector_labels import open_labels
from geoseg.scaling import Bounds
from geoseg.tiling import Lattice, blocks

MEMORY = 4 << 30
"""Bytes of decoded scenes that are kept; what does not fit is decoded again when it is needed."""
LARGE_SCENE = 1 << 26
"""Pixels above which a scene is read window by window and never kept whole."""
READ_SIDE = 4096
"""Side of the windows in which such a scene is looked through."""
BALANCED_SHARE = 0.5
"""Of windows, where they are balanced: the others keep the network used to how frequent classes are."""


ORDER_STREAM, WINDOW_STREAM = 1, 2
"""Keep the draws of the order and of the windows apart."""


class Sample(NamedTuple):
    """A labelled piece of a scene."""

    pixels: np.ndarray
    """(C, H, W) in the scene's dtype, raw digital numbers."""
    valid: np.ndarray
    """(H, W) bool, True where there is data."""
    index: np.ndarray
    """(H, W) uint8 class indices, NO_CLASS where there is nothing to learn; never a class where not valid."""


@dataclass(frozen=True)
class Framing:
    """How training cuts scenes: the side and size are those that prediction takes."""

    side: int
    """Scene pixels along a side of what is cut: of a window, or of the largest whole scene."""
    size: int
    """Pixels along the same side as the network sees it."""
    whole: bool = False
    """Whole scenes, the smaller ones at the same scale; else windows at random places."""


class LabelledScene:
    """A scene with its labels on the same grid. Picklable as its parts are.

    Raises InputError where the two differ in size or georeference.
    """

    def __init__(
        self, pair: Pair, legend: Legend, bands: Sequence[Band] | None = None, nodata_rule: AnyRule = "all"
    ) -> None:
        self.stem = pair.stem
        self.image = Scene(pair.image, bands, nodata_rule)
        self.image.require_spectral()
        self.labels = open_labels(pair.labels, legend, self.image, pair.field)
        self.grid = self.image.grid
        require_same_shape(self.grid, self.labels.grid, self.image.name, self.labels.name)
        # A data set may have more scenes than a process may hold open.
        self.close()
        both = self.grid.georeferenced and self.labels.grid.georeferenced
        if both and not self.grid.same_as(self.labels.grid, tolerance=0.1):
            raise InputError(
                f"{self.labels.name} ({self.labels.grid}) is shifted against {self.image.name} ({self.grid}); "
                "export it on the image's grid"
            )

    def read(self, window: Window | None = None) -> tuple[Sample, Flaws]:
        """A window (default: all) at the scene's resolution, and the number of its labels with a flaw."""
        pixels, valid = self.image.read(window)
        index, flaws = self.labels.read_counted(window)
        self.close()
        return Sample(pixels, valid, np.where(valid, index, NO_CLASS).astype(np.uint8)), flaws

    def close(self) -> None:
        self.image.close()
        self.labels.close()


class Samples:
    """The samples of one part of a split: a function of (seed, epoch, place), whoever asks and in whatever order.

    With a window each scene gives as many samples an epoch as windows are needed to cover it, each at a random place;
    without, each scene is one sample.

    Args:
        copies: repeats the samples of each scene so many times, 0 leaves it out; None takes each once.
        read: gives a whole scene as training sees it (``framed``), from a cache perhaps.
        stretches: the bounds of each scene where each is scaled by itself; None or empty ones where all are alike.
        balance: (S, K) pixels of each class in each scene; every other window is then placed by them
            (datasets.balance). None places all windows evenly.
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        framing: Framing,
        seed: int = 0,
        copies: Sequence[int] | None = None,
        read: Callable[[LabelledScene], Sample] | None = None,
        stretches: Sequence[Bounds] | None = None,
        balance: np.ndarray | None = None,
    ) -> None:
        self.scenes = list(scenes)
        self.stretches = [()] * len(self.scenes) if stretches is None else list(stretches)
        self.framing, self.seed = framing, seed
        self.oversampled = copies is not None
        self.copies = [1] * len(self.scenes) if copies is None else [int(count) for count in copies]
        if not any(self.copies) and self.scenes:
            raise UsageError(f"oversampling dropped all {len(self.scenes)} training scenes; use another --seed")
        self._read = read or (lambda scene: framed(scene.read()[0], framing))
        self._kept: dict[int, Sample] = {}
        self._kept_bytes = 0
        self._balance = None if balance is None else Balance(balance * np.minimum(self.copies, 1)[:, None])

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """The scene of each sample of an epoch, and which of its copies, from 0."""
        side, whole = self.framing.side, self.framing.whole
        counts = [1 if whole else len(Lattice(scene.grid.shape, side, 0)) for scene in self.scenes]
        repeated = enumerate(zip(counts, self.copies, strict=True))
        return [(number, copy) for number, (count, copies) in repeated for copy in range(copies) for _ in range(count)]

    def __len__(self) -> int:
        return len(self._places)

    def stays_clean(self, place: int) -> bool:
        """True for the first copy of a scene where scenes are oversampled: augmentation leaves it as it is."""
        return self.oversampled and self._places[place][1] == 0

    def stretch(self, place: int) -> Bounds:
        """The bounds of the scene at a place, empty where all scenes are scaled alike."""
        return self.stretches[self._places[place][0]]

    def order(self, epoch: int) -> np.ndarray:
        """(len,) int64: the places of the samples in the order in which an epoch takes them."""
        return np.random.default_rng((ORDER_STREAM, self.seed, epoch)).permutation(len(self))

    def draw(self, epoch: int, place: int) -> Sample:
        """The sample at a place of an epoch, size x size pixels; padded below and right where the scene is smaller."""
        number, window = self.cut_at(epoch, place)
        side, size = self.framing.side, self.framing.size
        if window is None:
            return pad(self.whole(number), size)
        return pad(resize(self._cut(number, window), side, size), size)

    def describe(self, epoch: int, place: int) -> str:
        """The scene of a sample, and the window where one is cut: what a message names."""
        number, window = self.cut_at(epoch, place)
        stem = self.scenes[number].stem
        if window is None:
            return stem
        return f"{stem} {window.width} x {window.height} px at row {window.row}, col {window.col}"

    def cut_at(self, epoch: int, place: int) -> tuple[int, Window | None]:
        """The scene of a place of an epoch and the window that is cut from it; None where scenes are taken whole."""
        number, _ = self._places[place]
        if self.framing.whole:
            return number, None
        random = np.random.default_rng((WINDOW_STREAM, self.seed, epoch, place))
        if self._balance is not None and random.random() < BALANCED_SHARE:
            number, pixel = self._balance.draw(random, self._read_indices)
            return number, _window_around(pixel, self.scenes[number].grid.shape, self.framing.side, random)
        return number, _random_window(self.scenes[number].grid.shape, self.framing.side, random)

    def whole(self, number: int) -> Sample:
        """A whole scene, framed."""
        if number not in self._kept:
            sample = self.read_whole(number)
            self._keep(number, sample)
            return sample
        return self._kept[number]

    def read_whole(self, number: int) -> Sample:
        """As ``whole``, for one who keeps it."""
        return self._read(self.scenes[number])

    @property
    def used(self) -> list[int]:
        """The scenes that give samples."""
        return [number for number, copies in enumerate(self.copies) if copies]

    @property
    def can_be_resident(self) -> bool:
        """True where samples are cut from whole scenes without resampling."""
        unchanged = self.framing.side == self.framing.size and not any(map(is_large, self.scenes))
        return self.framing.whole or unchanged

    @property
    def whole_bytes(self) -> int:
        """Bytes of all whole scenes that give samples."""
        return sum(whole_bytes(self.scenes[number], self.framing) for number in self.used)

    def as_scene(self, number: int) -> tuple[SceneLike, Callable[[Window], np.ndarray]]:
        """A scene to predict, as training sees it, and its class indices window by window."""
        scene = self.scenes[number]
        if not self.framing.whole and is_large(scene):
            return scene.image, scene.labels.read
        sample = self.whole(number)
        return ArrayScene(sample.pixels, sample.valid, name=scene.image.name), lambda window: sample.index[
            window.slices
        ]

    def _read_indices(self, number: int) -> Iterator[tuple[Window, np.ndarray]]:
        """The class indices of a scene in parts of bounded size, top to bottom."""
        scene = self.scenes[number]
        whole = None if is_large(scene) else self.read_whole(number).index
        for window in blocks(scene.grid.shape, READ_SIDE):
            yield window, scene.read(window)[0].index if whole is None else whole[window.slices]

    def _cut(self, number: int, window: Window) -> Sample:
        if is_large(self.scenes[number]):
            return self.scenes[number].read(window)[0]
        return Sample(*(part[..., *window.slices] for part in self.whole(number)))

    def _keep(self, number: int, sample: Sample) -> None:
        size = sum(part.nbytes for part in sample)
        if self._kept_bytes + size <= MEMORY:
            self._kept[number] = sample
            self._kept_bytes += size


def framed(sample: Sample, framing: Framing) -> Sample:
    """A whole scene as training sees it: at its own resolution where windows are cut, else resampled."""
    return resize(sample, framing.side, framing.size) if framing.whole else sample


def whole_bytes(scene: LabelledScene, framing: Framing) -> int:
    """Bytes of a whole scene, framed: its bands, valid and classes."""
    shape = scene.grid.shape
    height, width = scaled(shape, framing.side, framing.size) if framing.whole else shape
    return height * width * (len(scene.image.bands) * np.dtype(scene.image.dtype).itemsize + 2)


def resize(sample: Sample, side: int, size: int) -> Sample:
    """A sample brought from ``side`` to ``size``: area means for pixels, nearest for classes."""
    shape = scaled(sample.valid.shape, side, size)
    pixels, valid = area(sample.pixels, sample.valid, shape)
    return Sample(pixels, valid, np.where(valid, nearest(sample.index, shape), NO_CLASS).astype(np.uint8))


def pad(sample: Sample, size: int) -> Sample:
    """A sample of size x size pixels; what is added below and right is not valid and has no class."""
    height, width = sample.valid.shape
    if (height, width) == (size, size):
        return sample
    below, right = size - height, size - width
    return Sample(
        np.pad(sample.pixels, ((0, 0), (0, below), (0, right))),
        np.pad(sample.valid, ((0, below), (0, right))),
        np.pad(sample.index, ((0, below), (0, right)), constant_values=NO_CLASS),
    )


def is_large(scene: LabelledScene) -> bool:
    """True where windows are cut from the file, and the scene is never held whole."""
    height, width = scene.grid.shape
    return height * width > LARGE_SCENE


def _window_around(pixel: tuple[int, int], shape: tuple[int, int], side: int, random: np.random.Generator) -> Window:
    """A window of a scene that holds a pixel, at a random place."""
    height, width = (min(side, length) for length in shape)
    row, col = (
        int(random.integers(max(0, at - part + 1), min(at, length - part) + 1))
        for at, length, part in zip(pixel, shape, (height, width), strict=True)
    )
    return Window(row, col, height, width)


def _random_window(shape: tuple[int, int], side: int, random: np.random.Generator) -> Window:
    height, width = (min(side, length) for length in shape)
    row, col = (int(random.integers(0, length - part + 1)) for length, part in zip(shape, (height, width), strict=True))
    return Window(row, col, height, width)
