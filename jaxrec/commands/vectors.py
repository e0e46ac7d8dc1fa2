"""The command `vectors`: writes a model's item and user vectors to files."""

import argparse
from collections.abc import Mapping

import numpy as np

from jaxrec.commands.writing import write
from jaxrec.inference.asking import histories
from jaxrec.inference.loading import load
from jaxrec.system import console as consoles
from jaxrec.system.errors import UserError


def vectors(arguments: argparse.Namespace, _overrides: Mapping[str, str]) -> int:
    """Writes items.parquet (id, vector, and bias if there is one) and users.parquet (id, vector) into a folder."""
    console = consoles.make()
    recommender = load(arguments.workdir, arguments.checkpoint)
    log = histories(recommender, arguments.dataset, arguments.split)
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{arguments.output}: can't be made a folder: {error.strerror}; name another") from error
    items = recommender.item_vectors()
    write(iter([items]), arguments.output / "items.parquet", len(items), "items", console)
    users = recommender.bulk(log).hidden(np.arange(len(log.users)))
    write(users, arguments.output / "users.parquet", len(log.users), "users", console)
    return 0
