"""geoseg: land-cover maps from satellite and aerial rasters, and how good they are.

Names are loaded when first used, so that ``import geoseg`` loads neither torch nor rasterio.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Ablation": "geoseg.ablation.results",
    "AreaEstimates": "geoseg.scoring.area",
    "AreaOfInterest": "geoseg.raster.interest",
    "BoundaryCounts": "geoseg.scoring.boundary",
    "ClassStats": "geoseg.datasets.stats",
    "ClippedScene": "geoseg.raster.clipped",
    "CoarseScene": "geoseg.raster.coarse",
    "Comparison": "geoseg.scoring.compare",
    "ConfusionMatrix": "geoseg.confusion",
    "DEEPGLOBE": "geoseg.legend",
    "GeosegError": "geoseg.errors",
    "Grid": "geoseg.grid",
    "Legend": "geoseg.legend",
    "LegendClass": "geoseg.legend",
    "MosaicScene": "geoseg.raster.mosaic",
    "OpeningPolicy": "geoseg.source",
    "Plan": "geoseg.prediction.plan",
    "Prediction": "geoseg.prediction.prediction",
    "Reliability": "geoseg.scoring.calibration",
    "Report": "geoseg.scoring.report",
    "Restyled": "geoseg.raster.restyle",
    "Run": "geoseg.training.run",
    "SampleDesign": "geoseg.scoring.design",
    "SamplePoints": "geoseg.points",
    "Scaling": "geoseg.scaling",
    "Scene": "geoseg.raster.scene",
    "ScoresRaster": "geoseg.raster.scores",
    "Segmenter": "geoseg.models.segmenter",
    "Source": "geoseg.source",
    "StackScene": "geoseg.raster.stack",
    "VectorMap": "geoseg.vectorizing.vectorize",
    "Window": "geoseg.grid",
    "ablate": "geoseg.ablation.run",
    "areas_from_counts": "geoseg.scoring.estimate",
    "average_iou": "geoseg.scoring.averages",
    "bootstrap": "geoseg.scoring.intervals",
    "check_installation": "geoseg.doctor",
    "compare": "geoseg.scoring.compare",
    "design_sample": "geoseg.scoring.design",
    "estimate_areas": "geoseg.scoring.estimate",
    "export_onnx": "geoseg.models.onnx_export",
    "import_model": "geoseg.models.imported",
    "job_status": "geoseg.jobs.status",
    "load": "geoseg.models.storage",
    "median_frequency_weights": "geoseg.training.class_weights",
    "merge_job": "geoseg.jobs.merge",
    "olofsson_2014": "geoseg.scoring.area",
    "plan_job": "geoseg.jobs.plan",
    "plot": "geoseg.plotting.plot",
    "plot_confusion": "geoseg.plotting.charts",
    "plot_history": "geoseg.plotting.charts",
    "plot_iou": "geoseg.plotting.charts",
    "plot_pair": "geoseg.plotting.plot",
    "plot_reliability": "geoseg.plotting.charts",
    "predict": "geoseg.prediction.predict",
    "predict_strips": "geoseg.prediction.predict",
    "read_points": "geoseg.points",
    "restyle": "geoseg.raster.restyle",
    "run_job": "geoseg.jobs.run",
    "score": "geoseg.scoring.score",
    "stac_item": "geoseg.stac.map_item",
    "stac_model_item": "geoseg.stac.model_item",
    "stats": "geoseg.datasets.stats",
    "stehman_2014": "geoseg.scoring.area",
    "train": "geoseg.training.train",
    "vectorize": "geoseg.vectorizing.vectorize",
    "write_report": "geoseg.reporting.write",
    "write_sample": "geoseg.datasets.synthetic",
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
