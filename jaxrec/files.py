"""Files that are whole or not there."""

import contextlib
import json
from pathlib import Path


@contextlib.contextmanager
def replacing(path):
    """A temporary path beside this one, which takes its place when the block ends well and is removed otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write a value as JSON.

    Raises:
        ValueError: it holds a number that is not finite.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
