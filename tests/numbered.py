"""Numbered test files of each kind: some of them for the default run, the others for the slow one."""

import pytest

FILES = 10  # per kind
VARIANTS, QUICK = 5, 2  # most kinds cycle through the variants; the default run has QUICK of them


def numbered(kinds, files=lambda name: FILES):
    """Parameters (name, number) for all files of these kinds.

    Which variants are quick rotates from kind to kind, so that the default run has every variant in many kinds.
    """
    found = []
    for place, name in enumerate(kinds):
        turns = min(files(name), VARIANTS)
        for number in range(files(name)):
            quick = number < turns and (number - place) % turns < QUICK
            found.append(pytest.param(name, number, id=f"{name}-{number}", marks=() if quick else pytest.mark.slow))
    return found
