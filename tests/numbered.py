"""Files of a kind, by numbers: the first of each in the default run, the others in the slow one."""

import pytest

FILES, FIRST = 10, 5  # of a kind, and those of the default run: most kinds have five variants that take turns


def numbered(kinds, files=lambda name: FILES):
    """Parameters (name, number) of all files of these kinds."""
    return [
        pytest.param(name, number, id=f"{name}-{number}", marks=[pytest.mark.slow] if number >= FIRST else [])
        for name in kinds
        for number in range(files(name))
    ]
