"""Figures that are drawn into files: no window, and nothing of the caller's matplotlib is changed."""

import warnings
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """A Figure of so many inches."""
    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Any) -> None:
    """Write a Figure as PNG; a character that the font lacks is a box."""
    with warnings.catch_warnings(action="ignore"), open(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
