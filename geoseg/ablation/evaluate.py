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
from geoseg.datasets.samples import Framing
from geoseg.errors import InputError
from geoseg.files import disk_errors, replace_file
from geoseg.legend import Legend
from geoseg.models.device import resolve_device
from geoseg.models.segmenter import Segmenter
from geoseg.models.storage import MODEL_FILE, load, model_sha256
from geoseg.prediction.bands import open_file
from geoseg.prediction.plan import resolve_stretch, scaled
from geoseg.prediction.predict import predict
from geoseg.raster.features import LabelField
from geoseg.raster.labels import Labels
from geoseg.raster.scene import ArrayScene
from geoseg.raster.vector_labels import open_labels
from geoseg.scoring.score import score

TEST_FILE, MAPS_FOLDER = "test.json", "maps"
NETWORK, NATIVE = "network", "native"
"""The resolution the network sees, and the scenes' own."""
RESOLUTIONS = {
    NETWORK: "at the size that the paper's rows see, as the paper counts",
    NATIVE: "on the scenes' own grid",
}

Matrices = Mapping[str, ConfusionMatrix]
"""By the scene's stem."""


@dataclass(frozen=True, eq=False)
class Tested:
    """What a run's model made of the test scenes."""

    matrices: Mapping[str, Matrices]
    """By NETWORK and NATIVE; by NATIVE alone where all rows see the scenes' own pixels."""
    maps: Mapping[str, Path]
    """The maps that were kept, by stem."""


@dataclass(frozen=True)
class Tester:
    """Predicts and counts the test scenes of a run."""

    pairs: tuple[Pair, ...]
    legend: Legend
    framing: Framing
    """How the paper's rows see scenes: what their networks see is counted as NETWORK, of every row."""
    keep: frozenset[str]
    """Stems whose maps stay on disk."""
    device: str = "auto"
    precision: str = "auto"

    @property
    def resolutions(self) -> tuple[str, ...]:
        """What is counted: of RESOLUTIONS the native one alone where the paper's rows see the scenes' own pixels."""
        return tuple(RESOLUTIONS) if self.framing.side != self.framing.size else (NATIVE,)

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
        path = self._map(run, pair)
        with disk_errors(path):
            path.parent.mkdir(exist_ok=True)
        predict(pair.image, segmenter, path, overwrite=True, device=self.device, precision=self.precision)
        field = pair.field or LabelField()
        how = {"label_field": field.name, "label_layer": field.layer}
        found = {NATIVE: score(path, pair.labels, self.legend, **how).matrix}
        if NETWORK in self.resolutions:
            found[NETWORK] = self._network(pair, path, segmenter)
        if pair.stem not in self.keep:
            path.unlink()
            path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
        return {resolution: matrix.counts.tolist() for resolution, matrix in found.items()}

    def _network(self, pair: Pair, path: Path, segmenter: Segmenter) -> ConfusionMatrix:
        """A pixel that the paper's rows see counts once, its truth the nearest; without a prediction it is missed.

        A model that sees scenes as those rows do predicts what training saw of this one, area means. What another made
        of the scene's own pixels, the map in ``path``, is brought to the same size by nearest.
        """
        side, size = self.framing.side, self.framing.size
        with closing(Labels(path, self.legend)) as found:
            shape = scaled(found.grid.shape, side, size)
            with closing(open_labels(pair.labels, self.legend, found.scene, pair.field)) as labels:
                truth = labels.read(shape=shape)
            if (segmenter.config.window, segmenter.config.size) == (side, size):
                index = self._predict_small(pair, shape, segmenter)
            else:
                index = found.read(shape=shape)
        return ConfusionMatrix.from_pair(truth, index, len(self.legend), self.legend.ignored)

    def _predict_small(self, pair: Pair, shape: tuple[int, int], segmenter: Segmenter) -> np.ndarray:
        """(*shape) uint8 class indices of the scene, resampled before it is predicted."""
        with open_file(pair.image, segmenter.config) as scene:
            stretch = resolve_stretch(scene, segmenter.config)
            seen = ArrayScene(*scene.read(shape=shape), name=scene.name)
        side = {"window": self.framing.size, "size": self.framing.size}
        how = {"device": self.device, "precision": self.precision, "stretch": stretch}
        codes = predict(seen, segmenter, **how, **side).codes
        return self.legend.decode(codes, source=str(pair.image))

    def _lacks_map(self, run: Path, pair: Pair) -> bool:
        return pair.stem in self.keep and not self._map(run, pair).is_file()

    def _map(self, run: Path, pair: Pair) -> Path:
        return run / MAPS_FOLDER / f"{pair.stem}.tif"

    def _result(self, run: Path, done: Mapping[str, Mapping[str, list]]) -> Tested:
        stems = [pair.stem for pair in self.pairs]
        matrices = {name: {stem: self._matrix(done[stem][name]) for stem in stems} for name in self.resolutions}
        if not all(any(matrix.total for matrix in each.values()) for each in matrices.values()):
            raise InputError("no test scene has truth of a class that is scored; take another split or legend")
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
