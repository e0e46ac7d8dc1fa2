"""The seal of a checkpoint: the checksums of its folder's files, stored in the folder."""

from collections.abc import Callable
from pathlib import Path

from jaxrec.system import checksums
from jaxrec.system.errors import UserError
from jaxrec.system.files import read_checked, write_checked

NAME = "checksums.json"


def write(folder: Path) -> None:
    """Stores the checksums of all files in subfolders; files directly in the folder can still change."""
    names = (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())
    write_checked(folder / NAME, {"files": {name: checksums.of_file(folder / name) for name in names if "/" in name}})


def broken(folder: Path, which: Callable[[str], bool]) -> str | None:
    """Checks the files for which `which(name)` is true. Returns what is wrong, "" for nothing, None without checksums.

    Raises:
        UserError: a file can't be read.
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
