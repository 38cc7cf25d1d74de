"""The test scenes of one run: predicted once, counted at two resolutions, kept as numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from geoseg.confusion import ConfusionMatrix
from geoseg.datasets.dataset import Pair
from geoseg.errors import InputError
from geoseg.files import disk_errors, replace_file
from geoseg.legend import Legend
from geoseg.models.device import resolve_device
from geoseg.models.segmenter import Segmenter
from geoseg.models.storage import MODEL_FILE, load, model_sha256
from geoseg.prediction.plan import scaled
from geoseg.prediction.predict import predict, resolve_bands
from geoseg.raster.features import LabelField
from geoseg.raster.scene import ArrayScene, Scene
from geoseg.raster.vector_labels import open_labels
from geoseg.scoring.score import score

TEST_FILE, MAPS_FOLDER = "test.json", "maps"
NETWORK, NATIVE = "network", "native"
"""The resolution the network sees, and the scenes' own."""
RESOLUTIONS = {
    NETWORK: "at the network's own resolution, as the paper counts",
    NATIVE: "on the scenes' own grid",
}

Matrices = Mapping[str, ConfusionMatrix]
"""By the scene's stem."""


@dataclass(frozen=True, eq=False)
class Tested:
    """What a run's model made of the test scenes."""

    matrices: Mapping[str, Matrices]
    """By NETWORK and NATIVE; by NATIVE alone where the network sees the scenes' own pixels."""
    maps: Mapping[str, Path]
    """The maps that were kept, by stem."""


@dataclass(frozen=True)
class Tester:
    """Predicts and counts the test scenes of a run."""

    pairs: tuple[Pair, ...]
    legend: Legend
    keep: frozenset[str]
    """Stems whose maps stay on disk."""
    device: str = "auto"
    precision: str = "auto"

    def test(self, run: Path, progress: bool = False) -> Tested:
        """Count every scene that ``run`` has not counted with its model yet. Raises InputError, ModelError."""
        model = model_sha256(run / MODEL_FILE)
        done = _counted(run / TEST_FILE, model)
        left = [pair for pair in self.pairs if pair.stem not in done or self._lacks_map(run, pair)]
        # The model is loaded only where something is left to predict.
        segmenter = load(run, resolve_device(self.device)) if left else None
        for pair in tqdm(left, "test scenes", unit="scene", leave=False, disable=not progress):
            done[pair.stem] = self._count(run, pair, segmenter)
            _write(run / TEST_FILE, model, done)
        return self._result(run, done)

    def _count(self, run: Path, pair: Pair, segmenter: Segmenter) -> dict[str, list]:
        found = {NATIVE: self._native(run, pair, segmenter)}
        if segmenter.config.window != segmenter.config.size:
            found[NETWORK] = self._network(pair, segmenter)
        return {resolution: matrix.counts.tolist() for resolution, matrix in found.items()}

    def _native(self, run: Path, pair: Pair, segmenter: Segmenter) -> ConfusionMatrix:
        """As ``geoseg predict`` and ``geoseg score`` do it."""
        path = self._map(run, pair)
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
        predict(pair.image, segmenter, path, overwrite=True, device=self.device, precision=self.precision)
        field = pair.field or LabelField()
        matrix = score(path, pair.labels, self.legend, label_field=field.name, label_layer=field.layer).matrix
        if pair.stem not in self.keep:
            path.unlink()
        return matrix

    def _network(self, pair: Pair, segmenter: Segmenter) -> ConfusionMatrix:
        """The scene as training saw it: area means for pixels, nearest for classes; a network pixel counts once.

        Truth without a prediction counts as missed, as in ``geoseg score``.
        """
        config = segmenter.config
        with Scene(pair.image, resolve_bands(None, segmenter)) as scene:
            shape = scaled(scene.grid.shape, config.window, config.size)
            seen = ArrayScene(*scene.read(shape=shape), name=scene.name)
            with closing(open_labels(pair.labels, self.legend, scene, pair.field)) as labels:
                truth = labels.read(shape=shape)
        side = {"window": config.size, "size": config.size}
        codes = predict(seen, segmenter, device=self.device, precision=self.precision, **side).codes
        index = self.legend.decode(codes, source=str(pair.image))
        return ConfusionMatrix.from_pair(truth, index, len(self.legend), self.legend.ignored)

    def _lacks_map(self, run: Path, pair: Pair) -> bool:
        return pair.stem in self.keep and not self._map(run, pair).is_file()

    def _map(self, run: Path, pair: Pair) -> Path:
        return run / MAPS_FOLDER / f"{pair.stem}.tif"

    def _result(self, run: Path, done: Mapping[str, Mapping[str, list]]) -> Tested:
        stems = [pair.stem for pair in self.pairs]
        there = [name for name in RESOLUTIONS if all(name in done[stem] for stem in stems)]
        matrices = {name: {stem: self._matrix(done[stem][name]) for stem in stems} for name in there}
        maps = {pair.stem: self._map(run, pair) for pair in self.pairs if pair.stem in self.keep}
        return Tested(matrices, maps)

    def _matrix(self, counts: list) -> ConfusionMatrix:
        return ConfusionMatrix(np.array(counts), self.legend.ignored)


def _counted(path: Path, model: str) -> dict[str, Any]:
    """The counts of the scenes that this very model was tested on."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); remove it, and the scenes are predicted again") from error
    return record["scenes"] if record.get("model_sha256") == model else {}


def _write(path: Path, model: str, scenes: Mapping[str, Any]) -> None:
    replace_file(path, (json.dumps({"model_sha256": model, "scenes": scenes}) + "\n").encode())


def added(runs: Iterable[Matrices]) -> dict[str, ConfusionMatrix]:
    """The matrices of each scene summed over runs of the same scenes."""
    first, *rest = runs
    return {stem: sum((run[stem] for run in rest), start=matrix) for stem, matrix in first.items()}
