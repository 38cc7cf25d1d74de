"""The numbers that the paper prints, of its own split of DeepGlobe and of no other data."""

from __future__ import annotations

from typing import Any

from geoseg.datasets.stats import PAPER_TABLE_1

CLASSES = ("urban", "agriculture", "rangeland", "forest", "water", "barren")
TABLE_3 = {"baseline": 0.27, "focal": 0.20, "augment": 0.29, "resnet34": 0.34}
"""Mean IoU. Not the paper's Eq. 1, nor the mean of its Table 4: which average it is, the paper does not say."""
TABLE_4 = {
    "baseline": (0.46, 0.56, 0.12, 0.23, 0.27, 0.10),
    "focal": (0.35, 0.59, 0.03, 0.17, 0.16, 0.07),
    "augment": (0.40, 0.55, 0.15, 0.27, 0.30, 0.15),
    "resnet34": (0.58, 0.63, 0.16, 0.25, 0.34, 0.18),
}
"""IoU of each of CLASSES."""
POOLED = {"baseline": 0.4177, "focal": 0.3796, "augment": 0.5144}
"""Mean IoU by the paper's Eq. 1, worked out from the matrices of its Figs. 4 to 6; resnet34 has none."""
POOLED_CLASSES = {
    "baseline": (0.6289, 0.6621, 0.1087, 0.4260, 0.4583, 0.2224),
    "focal": (0.5379, 0.5952, 0.1254, 0.4837, 0.3444, 0.1908),
    "augment": (0.6014, 0.6161, 0.1964, 0.6563, 0.6207, 0.3953),
}


def printed() -> dict[str, Any]:
    """As ablation.json holds them."""
    return {
        "table_1_percent": {name: original for name, (original, _) in PAPER_TABLE_1.items()},
        "table_1_augmented_percent": {name: augmented for name, (_, augmented) in PAPER_TABLE_1.items()},
        "table_3_mean_iou": TABLE_3,
        "table_4_iou": _by_class(TABLE_4),
        "pooled_mean_iou": POOLED,
        "pooled_iou": _by_class(POOLED_CLASSES),
    }


def _by_class(rows: dict[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
    return {row: dict(zip(CLASSES, values, strict=True)) for row, values in rows.items()}
