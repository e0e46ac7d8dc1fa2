"""Draws figures into files, without a window, and without affecting the caller's matplotlib."""

from typing import TYPE_CHECKING, Any

from jaxrec.system.hushed import HUSHED

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """Returns a Figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # takes half a second
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: "Figure", path: Any) -> None:
    """Writes a Figure as PNG; characters missing in the font become boxes."""
    with HUSHED, open(path, "wb") as file:
        figure.savefig(file, format="png", dpi=120)
