"""Predict the test scenes of a data set and score them together: one confusion matrix a scene, pooled figures.

python examples/score_folders.py DATA RUN MAPS
"""

from __future__ import annotations

import sys
from pathlib import Path

import geoseg
from geoseg.datasets.dataset import open_dataset
from geoseg.datasets.splits import resolve_split


def score_test_scenes(data: str, run: str, maps: str) -> geoseg.Report:
    """Write a map of every test scene into ``maps``, print the pooled table and each scene's mean IoU."""
    model = geoseg.load(run)
    test = resolve_split(open_dataset(data)).test
    Path(maps).mkdir(parents=True, exist_ok=True)
    reports = []
    for pair in test:
        result = geoseg.predict(pair.image, model, Path(maps) / f"{pair.stem}.tif", overwrite=True)
        reports.append(geoseg.score(result.path, pair.labels, model.legend))
    pooled = geoseg.Report(model.legend, {name: pair for report in reports for name, pair in report.pairs.items()})
    print(pooled.to_text())
    for pair, report in zip(test, reports, strict=True):
        print(f"{pair.stem:12} mean IoU {report.mean_iou:.4f}")
    return pooled


if __name__ == "__main__":
    score_test_scenes(*sys.argv[1:4])
