"""The command `export`: a training as a single file that runs without Python."""

import argparse
from collections.abc import Mapping

from jaxrec.inference import export as exports
from jaxrec.inference.loading import load


def export(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Writes the file, after checking that it answers as the engine does."""
    exports.export(load(arguments.workdir, arguments.checkpoint), arguments.format, arguments.output, arguments.k)
    return 0
