"""geoseg: land-cover maps from satellite and aerial rasters, and how good they are.

Names are loaded when first used, so that ``import geoseg`` loads neither torch nor rasterio.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Comparison": "geoseg.scoring.compare",
    "ConfusionMatrix": "geoseg.confusion",
    "DEEPGLOBE": "geoseg.legend",
    "GeosegError": "geoseg.errors",
    "Grid": "geoseg.grid",
    "Legend": "geoseg.legend",
    "LegendClass": "geoseg.legend",
    "Plan": "geoseg.prediction.plan",
    "Prediction": "geoseg.prediction.predict",
    "Report": "geoseg.scoring.report",
    "Scene": "geoseg.raster.scene",
    "Segmenter": "geoseg.models.segmenter",
    "Window": "geoseg.grid",
    "average_iou": "geoseg.scoring.averages",
    "bootstrap": "geoseg.scoring.intervals",
    "compare": "geoseg.scoring.compare",
    "load": "geoseg.models.storage",
    "median_frequency_weights": "geoseg.training.class_weights",
    "predict": "geoseg.prediction.predict",
    "predict_strips": "geoseg.prediction.predict",
    "score": "geoseg.scoring.score",
    "train": "geoseg.training.train",
    "write_report": "geoseg.reporting.write",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'geoseg' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
