"""Checksums of arrays, of plain values and of files, to know damage by: xxHash, at gigabytes a second."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike

CHUNK = 1 << 24  # bytes of a file that are read at a time


def of_array(array: ArrayLike) -> str:
    """Of an array's bytes: not of its shape or dtype."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def of_json(value: Any) -> str:
    """Of a plain value as JSON: the same for what is read back as for what was written.

    >>> of_json({"a": 1, "b": (0.1, None)}) == of_json({"b": [0.1, None], "a": 1})
    True
    """
    return xxhash.xxh3_128_hexdigest(json.dumps(value, sort_keys=True).encode())


def of_text(text: str) -> str:
    """Of a text's UTF-8."""
    return xxhash.xxh3_128_hexdigest(text.encode())


def of_file(path: str | Path) -> str:
    """Of a file's bytes.

    Raises:
        OSError: it can't be read.
    """
    digest = xxhash.xxh3_128()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
