"""What a run tells of its epochs: rows of the history, lines for the terminal, the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geoseg.legend import Legend
from geoseg.training.checkpoint import Progress
from geoseg.training.validation import Validation


def history_row(state: Progress, found: Validation | None, legend: Legend, steps_per_epoch: int) -> dict[str, Any]:
    """What an epoch found, as history.csv holds it: the loss of its steps, and of the validation where there is one."""
    epoch = math.ceil(state.step / steps_per_epoch)
    loss = state.totals[0] / max(state.totals[1], 1e-9)
    row: dict[str, Any] = {"epoch": epoch, "step": state.step, "train_loss": round(loss, 6)}
    if found is None:
        return row
    matrix = found.matrix
    iou = matrix.iou()
    figures = {
        "val_loss": found.loss,
        "val_mean_iou": matrix.mean_iou(),
        "val_pixel_accuracy": matrix.pixel_accuracy(),
    }
    figures |= {"prior_tau": found.prior_tau}
    figures |= {f"val_iou_{legend.names[i]}": iou[i] for i in legend.scored}
    return row | {name: None if math.isnan(value) else round(float(value), 6) for name, value in figures.items()}


def epoch_line(state: Progress, epochs: int) -> str:
    """The last row of the history for the terminal."""
    row = state.history[-1]
    line = f"epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.4f}"
    if row.get("val_mean_iou") is not None:
        line += f", validation loss {row['val_loss']:.4f}, mean IoU {row['val_mean_iou']:.4f}"
    return line + (" (best)" if state.is_best and "val_mean_iou" in row else "")


def run_report(state: Progress, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """report.json: the row of the model and why it is that one, the last row, and how it was trained."""
    scored = state.best.get("val_mean_iou") is not None
    chosen = "best pooled validation mean IoU" if scored else "last epoch (no validation scenes)"
    return {"model": state.best, "chosen_by": chosen, "last": state.history[-1]} | dict(provenance)
