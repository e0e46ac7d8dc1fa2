"""The checksums of a folder's files, kept within it."""

from collections.abc import Callable
from pathlib import Path

from jaxrec.system import checksums
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_checked, write_checked

NAME = "checksums.json"


def write(folder: Path) -> None:
    """Keep the checksums of all files in the folders of a folder; those beside them may still change."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    write_checked(folder / NAME, {"files": {name: checksums.of_file(folder / name) for name in names if "/" in name}})


def broken(folder: Path, which: Callable[[str], bool]) -> str | None:
    """What is wrong with the files, whose names `which` admits: a phrase, "" for nothing; None where none are kept.

    Raises:
        UserError: one can't be read.
    """
    if not (folder / NAME).exists():
        return None
    try:
        known = read_checked(folder / NAME, "it is written with the folder").get("files", {})
    except UserError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return f"{NAME} is not what was saved"
    for name in filter(which, known):
        if not (folder / name).is_file():
            return f"{name} is gone"
        if checksums.of_file(folder / name) != known[name]:
            return f"{name} is not what was saved"
    return ""
