"""Checksums of arrays, plain values and files, to detect damage, by xxHash (gigabytes per second)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike

CHUNK = 1 << 24  # bytes of a file read at a time


def of_array(array: ArrayLike) -> str:
    """Returns the checksum of an array's bytes, without its shape and dtype."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def of_json(value: Any) -> str:
    """Returns the checksum of a plain value as JSON, which survives writing and reading.

    >>> of_json({"a": 1, "b": (0.1, None)}) == of_json({"b": [0.1, None], "a": 1})
    True
    """
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())


def of_text(text: str) -> str:
    """Returns the checksum of a text in UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode())


def of_file(path: str | Path) -> str:
    """Returns the checksum of a file's bytes.

    Raises:
        OSError: if it can't be read.
    """
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
