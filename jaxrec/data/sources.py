"""Resolves the name of a data set: the generator, a path, a folder under $JAXREC_DATA, or a public data set."""

import difflib
import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs
from rich import filesize

from jaxrec.data import delta, discover, filters, prepared, stores, synthetic
from jaxrec.data.files import walking
from jaxrec.data.files.download import download
from jaxrec.data.files.text import some
from jaxrec.data.formats import arrow
from jaxrec.data.interactions import Interactions
from jaxrec.data.reading import read
from jaxrec.data.storage.spill import MEMORY
from jaxrec.system.errors import UserError
from jaxrec.system.files import expand, is_address

SYNTHETIC = "synthetic"


@dataclass(frozen=True, kw_only=True)
class Public:
    """A public data set: where to find it, the filters that it is published with, and the published counts."""

    names: tuple[str, ...]  #: under $JAXREC_DATA; the last is the file name, also in the cache
    origin: str  #: source, for manual download
    url: str | None = None  #: None if it must be downloaded manually
    checksum: str | None = None  #: as for `download`
    size: int | None = None  #: bytes
    options: Mapping = field(default_factory=dict)  #: `filters.Options` of this version
    users: int | None = None
    items: int | None = None  #: items with at least one interaction
    interactions: int | None = None

    @property
    def file(self) -> str:
        """Source, file name and size of the file, for messages."""
        return f"{self.origin}, as {self.names[-1]}" + (f" ({filesize.decimal(self.size)})" if self.size else "")


def _published(counts: Iterable[int | None]) -> dict[str, Any]:
    """Returns the published counts by their field names in Public."""
    return dict(zip(("users", "items", "interactions"), counts, strict=False))


def _movielens(name: str, md5: str | None, size: int | None, *counts: int | None, **options) -> Public:
    """Returns a GroupLens data set. MD5s are published; ml-latest-small changes over time and has none."""
    url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
    checksum = md5 and f"md5:{md5}"
    names = name, f"{name}.zip"
    return Public(names=names, origin=url, url=url, checksum=checksum, size=size, options=options, **_published(counts))


def _amazon(name: str, category: str, *counts: int) -> Public:
    """Returns the 5-core of a category of the 2014 Amazon ratings (McAuley et al. 2015)."""
    file = f"ratings_{category}.csv"
    url = f"https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/{file}"
    return Public(names=(name, file), origin=url, url=url, options={"k_core": 5}, **_published(counts))


def _sequences(name: str, place: str, size: int, *counts: int) -> Public:
    """Returns a published file of sequences, by its place on GitHub: owner/repository/commit/path."""
    owner, repository, _, path = place.split("/", 3)
    origin, url = f"{path} of github.com/{owner}/{repository}", f"https://raw.githubusercontent.com/{place}"
    names, checksum = (name, f"{name}.txt"), f"git:{BLOBS[name]}"
    return Public(names=names, origin=origin, url=url, checksum=checksum, size=size, **_published(counts))


def _sessions(name: str, train: int, origin: str, *counts: int) -> Public:
    """Returns a session data set that isn't published as a single file."""
    lines, stats = "a line a session: its number, its items; training first", f'{{"train_sessions": {train}}}'
    files = f"sequences.txt ({lines}) and stats.json ({stats})"
    return Public(names=(name,), origin=f"a folder of {files}, from {origin}", **_published(counts))


S3REC = "RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data"
BERT4REC = "FeiSun/BERT4Rec/615eaf2004abecda487a38d5b0c72f3dcfcae5b3/data"
YOOCHOOSE = "github.com/rn5l/session-rec's yoochoose-clicks-100k_train_full.txt and _test.txt"
DIGINETICA = "CIKM Cup 2016's sessions, as github.com/CCIIPLab/GCE-GNN prepares them"
BLOBS = {  # git blob hashes
    "beauty-5core": "a29773026846d857ec8176cb25f37b23ecf20155",
    "sports-5core": "50a7023ca502b42eb0e840c603abda6e851b2018",
    "beauty-bert4rec": "16718a33ebdb33504f257421b18ae8bf3ddfe327",
}
PUBLIC = {
    "ml-100k": _movielens("ml-100k", "0e33842e24a9c977be4e0107933c0723", 4_924_029, 943, 1_682, 100_000),
    "ml-1m": _movielens("ml-1m", "c4d9eecfca2ab87c1945afe126590906", 5_917_549, 6_040, 3_416, 999_611, k_core=5),
    "ml-10m": _movielens("ml-10m", "ce571fd55effeba0271552578f2648bd", 65_566_137, 69_878, 10_677, 10_000_054),
    "ml-20m": _movielens("ml-20m", "cd245b17a1ae2cc31bb14903e1204af3", 198_702_078, 138_493, 26_744, 20_000_263),
    "ml-25m": _movielens("ml-25m", "6b51fb2759a8657d3bfcbfc42b592ada", 261_978_986, 162_541, 59_047, 25_000_095),
    "ml-32m": _movielens("ml-32m", "d472be332d4daa821edc399621853b57", 238_950_008, 200_948, None, 32_000_204),
    "ml-latest-small": _movielens("ml-latest-small", None, None),
    "ml-1m-sasrec": Public(
        names=("ml-1m-sasrec", "ml-1m", "ml-1m.txt"),
        origin="data/ml-1m.txt of github.com/kang205/SASRec, as it is",
        url="https://raw.githubusercontent.com/kang205/SASRec/master/data/ml-1m.txt",
        checksum="git:9ab8e3edb8742f8d8cc4911e3dee25e82a6fcc24",
        users=6_040,
        items=3_416,
        interactions=999_611,
    ),
    "beauty-5core": _sequences("beauty-5core", f"{S3REC}/Beauty.txt", 1_090_094, 22_363, 12_101, 198_502),
    "sports-5core": _sequences("sports-5core", f"{S3REC}/Sports_and_Outdoors.txt", 1_707_483, 35_598, 18_357, 296_337),
    "beauty-bert4rec": _sequences("beauty-bert4rec", f"{BERT4REC}/beauty.txt", 3_912_093, 40_226, 54_542, 353_962),
    "rsc15-100k": _sessions("rsc15-100k", 17_794, YOOCHOOSE, 21_210, 2_933, 83_846),
    "diginetica": _sessions("diginetica", 186_670, DIGINETICA, 202_633, 43_097, 982_961),
    "amazon-beauty": _amazon("amazon-beauty", "Beauty", 22_363, 12_101, 198_502),
    "amazon-sports": _amazon("amazon-sports", "Sports_and_Outdoors", 35_598, 18_357, 296_337),
    "steam": Public(
        names=("steam", "steam_reviews.json.gz"),
        origin="steam_reviews.json.gz of github.com/kang205/SASRec (Steam reviews)",
        url="https://cseweb.ucsd.edu/~wckang/steam_reviews.json.gz",
    ),
}
KINDS = f"name a folder or a file of interactions, '{SYNTHETIC}', or a public data set ({', '.join(PUBLIC)})"


def load(name: Any, reading: Mapping = MappingProxyType({}), **options: Any) -> Interactions:
    """Returns the interactions of the data set `name`; see `locate`. Downloads a missing public data set to the cache.

    Args:
        name: a name, or a table in memory.
        reading: keyword arguments of `read`.
        **options: options of the generator, which override those in the name.

    Raises:
        UserError: if nothing has this name, an option is not supported, a download fails, or a public data set's counts
            differ from the published ones.

    >>> load("synthetic:users=20,items=200,seed=1").users.shape
    (20,)
    """
    return load_steps(name, reading, **options)[0]


def load_steps(
    name: Any, reading: Mapping = MappingProxyType({}), **options: Any
) -> tuple[Interactions, list[filters.Step]]:
    """Like `load`, but also returns the counts after each step: reading, and the filters of a public data set."""
    store = reading.get("store", MEMORY)
    if arrow.is_frame(name):
        removed = []
        interactions = read(name, **reading, left_out=lambda *step: removed.append(step))
        whole = filters.apply(interactions, filters.Options())
        return interactions, filters.left_out(filters.step("read", interactions), removed) if removed else whole[1]
    public = PUBLIC.get(name := arrow.place("data", name))
    if public and public.url and not _found(name):
        _fetch(name, public.url)
    where = locate(name)
    if where.partition(":")[0] == SYNTHETIC:
        flags = ("format", "items", "users", "ids", "keep_na_ids", "time_format", "only", "separator")
        if any(map(reading.get, flags)) or any(reading.get("columns", {}).values()):
            raise UserError(f"{where}: generated, not read: leave out --format, --ids, --only and the names of columns")
        if store.memory is not None:
            raise UserError(
                f"{where}: generated in memory: leave out --memory, or write it to a file with synthetic.write"
            )
        return filters.apply(_generate(where, options), filters.Options())
    if options:
        raise UserError(f"{where}: a file has no options: remove {', '.join(options)}")
    removed = []
    say = reading.get("say", lambda line: None)
    own = {table: reading[table] for table in ("items", "users") if is_address(reading.get(table))}
    here = {table: str(stores.fetch(address, cache(), say)) for table, address in own.items()}
    place = str(stores.fetch(where, cache(), say)) if is_address(where) else where
    place = str(delta.live(Path(place), cache(), say)) if walking.is_delta(place) else place
    given: dict[str, Any] = dict(reading) | here
    interactions = read(place, **given, left_out=lambda *step: removed.append(step))
    if interactions.digest:  # a prepared folder
        prepared.verify(interactions)
    elif place != where:
        interactions = replace(interactions, name=where)
    meant = _meant(name, where)
    wanted = PUBLIC[meant].options if meant else {}
    before = filters.left_out(filters.step("read", interactions), removed) if removed else []
    interactions, steps = filters.apply(interactions, filters.Options(**wanted), store)
    if meant and not removed:
        _check_version(meant, where, interactions)
    return interactions, before + steps[1:] if before else steps


def locate(name: str) -> str:
    """Returns the absolute path of a data set, or `name` itself for the generator and for an address (s3://…).

    Tries, in this order: the generator, an existing path, the name under $JAXREC_DATA, a public data set's names there,
    its file in the cache. Downloads nothing.

    Raises:
        UserError: if nothing is found; lists the paths tried.
    """
    if not name:
        raise UserError(f"dataset is empty: {KINDS}")
    if name.partition(":")[0] == SYNTHETIC or is_address(name):
        return name
    if path := _found(name):
        odd = path.exists() and not (path.is_file() or path.is_dir())
        return str(path.absolute() if odd else path.resolve())
    public, root = PUBLIC.get(name), os.environ.get("JAXREC_DATA")
    lines = [f"dataset {name!r} was not found. Tried:"]
    lines += [f"  {path.absolute()}{', a link to nowhere' * os.path.islink(path)}" for path in _places(name)]
    if root:
        lines.append(f"  ($JAXREC_DATA is {root}, which holds {_holds(expand(root))})")
    else:
        lines.append("  ($JAXREC_DATA is not set: set it to the folder of your data sets)")
    if public:
        lines.append(f"Put {public.file}, into {root or cache()}.")
    else:
        near = [str(path.with_name(each)) for path in _places(name) for each in _near(path)]
        near += difflib.get_close_matches(name, PUBLIC, cutoff=0.7)
        lines += [f"Did you mean {some(near)}?"] if near else []
        lines.append(f"So {KINDS}.")
    raise UserError("\n".join(lines))


def cache() -> Path:
    """Returns the download cache: $JAXREC_CACHE, or the platform's cache folder."""
    return expand(os.environ.get("JAXREC_CACHE") or platformdirs.user_cache_dir("jaxrec")).absolute()


def _places(name: str) -> list[Path]:
    """Returns the paths that `name` may stand for, in the order to try them; an absolute name is only itself."""
    public = PUBLIC.get(name)
    places = [expand(name)]
    if root := os.environ.get("JAXREC_DATA"):
        places += [expand(root) / each for each in (public.names if public else (name,))]
    return list(dict.fromkeys(places + ([_cached(public)] if public else [])))


def _found(name: str) -> Path | None:
    return next((path for path in _places(name) if _is_there(path)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists() or any(discover.matches(path))
    except UserError:
        raise
    except (OSError, ValueError):  # an invalid file name, or an unreadable folder
        return False


def _near(path: Path) -> list[str]:
    """Returns file names similar to the path's, from the same folder."""
    try:
        names = [name for name in os.listdir(path.parent) if (path.parent / name).exists()]
    except (OSError, ValueError):  # the folder is missing or unreadable
        names = []
    return difflib.get_close_matches(path.name, names, cutoff=0.5)


def _cached(public: Public) -> Path:
    return cache() / public.names[-1]


def _fetch(name: str, url: str) -> None:
    public = PUBLIC[name]
    try:
        download(url, _cached(public), checksum=public.checksum)
    except UserError as error:
        root = os.environ.get("JAXREC_DATA")
        there = f"in $JAXREC_DATA ({root})" if root else "in a folder that you set $JAXREC_DATA to"
        other = f"{public.names[-1]} is also looked for {there}; $JAXREC_CACHE moves the cache"
        raise UserError(f"dataset {name!r} was not found here and could not be fetched.\n{error}.\n{other}.") from None


def _meant(name: str, where: str) -> str | None:
    """Returns the public data set of `name`: its own name, or its file in the cache, as recorded in workdirs."""
    if name in PUBLIC:
        return None if Path(name).exists() else name
    return next((each for each in PUBLIC if str(_cached(PUBLIC[each]).resolve()) == where), None)


def _holds(folder: Path) -> str:
    if not folder.is_dir():
        return "nothing: there is no such folder"
    return some(sorted(entry.name for entry in folder.iterdir()))


def _check_version(name: str, where: str, interactions: Interactions) -> None:
    public = PUBLIC[name]
    found = (len(interactions.users), len(interactions.catalogue.ids), len(interactions.items))
    meant = (public.users, public.items, public.interactions)
    if all(wanted in (None, have) for have, wanted in zip(found, meant, strict=True)):
        return
    if public.url and where == str(_cached(public).resolve()):
        cure = f"Delete {where} to download it again"
    else:
        cure = f"Put {public.file}, there, or give the path of what you have"
    raise UserError(f"{where} holds another version of {name}: {_told(found)} instead of {_told(meant)}. {cure}")


def _told(counts: tuple[int | None, ...]) -> str:
    named = zip(counts, ("users", "items", "interactions"), strict=True)
    return ", ".join(f"{count:,} {what}" for count, what in named if count is not None)


def missing(name: str) -> bool:
    """Returns whether a recorded data set, an absolute path or the generator, no longer exists."""
    return not (name.partition(":")[0] == SYNTHETIC or is_address(name) or _is_there(Path(name)))


def world(spec: str) -> synthetic.World | None:
    """Returns the generator's World of a name such as "synthetic:users=2000"; None for other names.

    Raises:
        UserError: if the generator doesn't have an option.
    """
    if spec.partition(":")[0] != SYNTHETIC:
        return None
    options = _options(spec, {})
    options.pop("users", None)
    return synthetic.world(**options)


def _generate(spec: str, options: dict) -> Interactions:
    return synthetic.interactions(**_options(spec, options))


def _options(spec: str, options: dict) -> dict:
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
