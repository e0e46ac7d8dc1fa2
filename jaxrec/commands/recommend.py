"""The command `recommend`: writes the best items of many users to a file."""

import argparse
import re
from collections import deque
from collections.abc import Mapping

from jaxrec.commands.writing import write
from jaxrec.data import sources
from jaxrec.data.interactions import fingerprint
from jaxrec.inference import changes
from jaxrec.inference.asking import histories
from jaxrec.inference.bulk import rows_of
from jaxrec.inference.loading import loaded
from jaxrec.kernels import processes
from jaxrec.system import arguments as checked, checksums, console as consoles
from jaxrec.system.errors import UserError
from jaxrec.training.workdirs.shared import workdir_of_first

LINE_END = re.compile(r"\r\n|\n|\r")  # other characters that end lines may be part of an id


def recommend(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Writes rows of user, rank, item and score, in bounded memory."""
    console = consoles.make()
    say = lambda line: console.print(consoles.printable(line), soft_wrap=True)
    if arguments.output.suffix not in (".parquet", ".csv"):
        raise UserError(f"{arguments.output}: name a file that ends in .parquet or .csv")
    k = checked.count(arguments.k, "--")
    for flag in ("split", "dataset"):
        if arguments.histories and getattr(arguments, flag) is not None:
            own = "--histories are used as they are"
            raise UserError(f"--{flag} goes with --users: {own}, leave it out")
    with workdir_of_first(arguments.workdir, arguments.checkpoint) as path:
        items, over = arguments.items, arguments.item_devices
        recommender = loaded(path, arguments.checkpoint, items=items, item_devices=over, together=True)
        if arguments.histories:
            log, users = sources.load(arguments.histories, {"say": say}), "all"
        else:
            log = histories(recommender, arguments.dataset, arguments.split)
            users = arguments.users if arguments.users == "all" else _listed(arguments.users)
    if arguments.stock:
        recommender = changes.onto(recommender, changes.read(arguments.stock))
    rows = rows_of(log, users)
    if processes.several():
        items = len(recommender.catalogue.ids)
        same = {"data": fingerprint(log), "--users": checksums.of_array(rows), "items": items}
        processes.check_same(same | {"--stock": checksums.of_array(recommender.offered)})
    frames = recommender.bulk(log, arguments.now).recommend(rows, *recommender.asked(k), together=True)
    if processes.leads():
        write(frames, arguments.output, len(rows), "users", console)
    else:
        deque(frames, 0)  # takes part in computing them; the first process writes them
    return 0


def _listed(path):
    """Returns the ids in a text file, one per line."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}; list users in a text file, one id per line") from error
    if not (ids := [line for line in LINE_END.split(text) if line]):
        raise UserError(f"{path}: no users: list them in it, one id per line, or give --users all")
    return ids
