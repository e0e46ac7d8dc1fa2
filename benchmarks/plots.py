"""Draws the figures of results, panels of lines over a size, to files and without a window.

    python -m benchmarks.plots mesh_agreement reads

draws the figures of these results again, from the stored results.
"""

import argparse
import importlib
import json

from benchmarks import record
from jaxrec.system.figures import new_figure


def panels(columns=1, rows=1, width=4.2, height=3.3):
    """Returns a figure and its panels, row by row; `width` and `height` of a panel are in inches."""
    figure = new_figure(columns * width, rows * height)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def line(axes, x, y, label=None, style="-"):
    """Draws a line with a dot at each measurement."""
    axes.plot(list(x), list(y), style, marker="o", markersize=3, label=label)


def over(axes, sizes, name, unit=1):
    """Sets up the horizontal axis: sizes on a logarithmic scale, labelled in multiples of `unit`."""
    axes.set(xscale="log", xlabel=name)
    axes.set_xticks(list(sizes), [f"{each / unit:,.10g}" for each in sizes])
    axes.set_xticks([], minor=True)


def bar(axes, value):
    """Draws a bar that is to be reached, or not to be exceeded, as a dashed line."""
    axes.axhline(value, linestyle="--", color="grey", linewidth=1)


def save(figure, path):
    """Writes the figure, with a legend wherever lines have names."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", help="names of results")
    for name in parser.parse_args().names:
        result = json.loads((record.RESULTS / f"{name}.json").read_text())
        module = importlib.import_module(f"benchmarks.{result['kind'].replace(' ', '_')}")
        module.plot(result, record.RESULTS / f"{name}.png")
