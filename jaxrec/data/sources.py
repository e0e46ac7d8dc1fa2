"""What `dataset` may name: the generator, a path, a folder of $JAXREC_DATA, or a public data set."""

import inspect
import os
from pathlib import Path
from typing import NamedTuple

from jaxrec.data import readers
from jaxrec.data.interactions import Interactions
from jaxrec.errors import UserError

SYNTHETIC = "synthetic"


class Public(NamedTuple):
    """A public data set: what it is called under $JAXREC_DATA, where it comes from, and the counts of this version."""

    names: tuple[str, ...]
    origin: str
    users: int
    items: int
    interactions: int


PUBLIC = {
    "ml-1m-sasrec": Public(
        names=("ml-1m-sasrec", "ml-1m", "ml-1m.txt"),
        origin="data/ml-1m.txt of github.com/kang205/SASRec, as it is, as ml-1m.txt",
        users=6_040,
        items=3_416,
        interactions=999_611,
    )
}
KINDS = (
    f"name a folder with {' or '.join(readers.SEQUENCES)}, a file of 'user item' lines, "
    f"'{SYNTHETIC}', or a public data set ({', '.join(PUBLIC)})"
)


def load(name: str, **options) -> Interactions:
    """The interactions that `name` stands for; see `locate`.

    The options are the generator's, and win over those in the name. Raises UserError for a name that is nothing, for
    options that nothing takes, and where the counts of a public data set are not those of the version meant.
    """
    where = locate(name)
    if where.partition(":")[0] == SYNTHETIC:
        return _generate(where, options)
    if options:
        raise UserError(f"{where}: a file has no options: remove {', '.join(options)}")
    interactions = readers.read(where)
    if name in PUBLIC and not Path(name).exists():
        _check_version(name, where, interactions)
    return interactions


def locate(name: str) -> str:
    """The absolute path that `name` stands for, or itself where it names the generator: "synthetic:users=2000,seed=1".

    Tried in this order: the generator, an existing path, that name under $JAXREC_DATA, a public data set's names there.
    Raises UserError that lists what was tried.
    """
    if not name:
        raise UserError(f"dataset is empty: {KINDS}")
    if name.partition(":")[0] == SYNTHETIC:
        return name
    public = PUBLIC.get(name)
    tried = [Path(name).expanduser()]
    if root := os.environ.get("JAXREC_DATA"):
        tried += [Path(root).expanduser() / each for each in (public.names if public else (name,))]
    for path in tried:
        if path.exists():
            return str(path.resolve())
    lines = [f"dataset {name!r} was not found. Tried:", *(f"  {path.absolute()}" for path in tried)]
    if root:
        lines.append(f"  ($JAXREC_DATA is {root}, which holds {_holds(Path(root).expanduser())})")
    else:
        lines.append("  ($JAXREC_DATA is not set: set it to the folder that your data sets lie in)")
    if public:
        lines.append(f"Put {public.origin}, into {root or 'a folder and set $JAXREC_DATA to it'}.")
    else:
        lines.append(f"So {KINDS}.")
    raise UserError("\n".join(lines))


def _holds(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing: there is no such folder"
    return readers.some(sorted(entry.name for entry in folder.iterdir()))


def _check_version(name: str, where: str, interactions: Interactions) -> None:
    public = PUBLIC[name]
    found = (len(interactions.users), len(interactions.catalogue.ids), len(interactions.items))
    if found != public[2:]:
        raise UserError(
            f"{where} holds another version than {name}: {_counts(found)} instead of {_counts(public[2:])}. "
            f"Put {public.origin}, there, or name what you have by its path"
        )


def _counts(counts: tuple[int, ...]) -> str:
    return "{:,} users, {:,} items, {:,} interactions".format(*counts)


def missing(name: str) -> bool:
    """Whether a stored dataset, an absolute path or the generator, is no longer there."""
    return name.partition(":")[0] != SYNTHETIC and not Path(name).exists()


def world(spec: str):
    """The generator's World of a dataset name, "synthetic" with its options; None where the name is something else.

    Raises UserError for options that the generator lacks.
    """
    if spec.partition(":")[0] != SYNTHETIC:
        return None
    from jaxrec.data import synthetic

    options = _options(spec, {})
    options.pop("users", None)
    return synthetic.world(**options)


def _generate(spec: str, options: dict) -> Interactions:
    from jaxrec.data import synthetic  # only here: files need no generator

    return synthetic.interactions(**_options(spec, options))


def _options(spec: str, options: dict) -> dict:
    from jaxrec.data import synthetic

    taken = [inspect.signature(each).parameters.values() for each in (synthetic.interactions, synthetic.world)]
    defaults = {each.name: each.default for group in taken for each in group if each.kind is not each.VAR_KEYWORD}
    known = list(defaults)
    wanted = {}
    for part in filter(None, spec.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        kind = type(defaults.get(key.strip(), 0))
        try:
            wanted[key.strip()] = {int: int, float: float}[kind](value)
        except (ValueError, KeyError):
            example = f"{SYNTHETIC}:users=2000,seed=1"
            raise UserError(f"dataset {spec!r}: {part!r} is not KEY=NUMBER, as in {example}") from None
    wanted |= options
    if unknown := [key for key in wanted if key not in known]:
        raise UserError(f"dataset {spec!r}: no option {', '.join(unknown)}: the generator has {', '.join(known)}")
    for key, least in {"users": 1, "seed": 0}.items():
        if wanted.get(key, least) < least:
            raise UserError(f"dataset {spec!r}: {key} must be at least {least}")
    return wanted
