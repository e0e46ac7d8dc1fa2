"""The command export: a training as one file that runs without Python."""

import argparse
from collections.abc import Mapping

from jaxrec.inference import export as exports
from jaxrec.inference.loading import load


def export(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Write the file, once it answers as the engine does."""
    exports.export(load(arguments.workdir, arguments.checkpoint), arguments.format, arguments.output, arguments.k)
    return 0
