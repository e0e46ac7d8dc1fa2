"""Files of a kind, by numbers: some of each in the default run, the others in the slow one."""

import pytest

FILES = 10  # of a kind
VARIANTS, QUICK = 5, 2  # that take turns in most kinds, and how many of them the default run has


def numbered(kinds, files=lambda name: FILES):
    """Parameters (name, number) of all files of these kinds.

    Which ones are quick goes round from kind to kind, so that the default run has all variants, each of many kinds.
    """
    found = []
    for place, name in enumerate(kinds):
        turns = min(files(name), VARIANTS)
        for number in range(files(name)):
            quick = number < turns and (number - place) % turns < QUICK
            found.append(pytest.param(name, number, id=f"{name}-{number}", marks=() if quick else pytest.mark.slow))
    return found
