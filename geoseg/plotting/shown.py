"""ShownFigure: a figure that notebooks show without pyplot."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

DPI, SCREEN = 160, 96
"""Pixels an inch of the picture, and as browsers count an inch: sharp on fine screens."""


class ShownFigure(Figure):
    """matplotlib's own figures are shown by a notebook where pyplot was loaded, and else are a line of text."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """A PNG, and how wide it is meant to be."""
        data = io.BytesIO()
        self.savefig(data, format="png", dpi=DPI)
        return data.getvalue(), {"width": round(SCREEN * self.get_size_inches()[0])}
