"""Reads RecBole's .inter, with the .item beside it."""

from jaxrec.data import (
    columns as cols,
    dialects,
    histories,
    items,
    tables,
    tabular,
)
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ReaderEntry, described, finished
from jaxrec.data.text import File, short
from jaxrec.system.errors import UserError


def read(given: Input) -> Interactions:
    """Reads RecBole's .inter, with the .item of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, as user_id:token is: say --format table")
    names, kinds = dialects.typed(line)
    chosen = cols.choose(names, dialects.with_lists(names, kinds, given.columns), file)
    given.say(cols.said(names, chosen))
    log = given.log({role: names[number] for role, number in chosen.items()})
    lists = [name for name, kind in zip(names, kinds, strict=True) if kind.endswith("_seq")]
    rows = _recbole_rows(file, given, names, kinds)
    table = tabular.Table(names, lists, rows, rows)
    tabular.check_order(given, file, table, chosen)
    given.collect(log, file, names, chosen, table.batches)
    interactions = finished(given, log)
    beside = file.beside(file.name.removesuffix(".inter") + ".item")
    if given.items is not None or beside is None:
        return described(given, interactions, log.columns["item"])
    _, about = items.given(beside, interactions.catalogue, log.columns["item"])
    return items.describe(interactions, about, given.say)


def _recbole_rows(file: File, given: Input, names: list[str], kinds: list[str]):
    """Returns the function that reads columns of an .inter: {role: index} -> batches.

    A column item_id_list beside item_id holds the preceding items; likewise for times and ratings.
    """

    def batches(chosen):
        before = {f"{histories.BEFORE}{role}": f"{names[at]}_list" for role, at in chosen.items()}
        every = chosen | {role: names.index(name) for role, name in before.items() if name in names}
        lists = [role for role, at in every.items() if kinds[at].endswith("_seq") or at not in chosen.values()]
        read = lambda: (
            histories.split(batch, lists)
            for batch in tables.delimited(file, "\t", len(names), every, quote=given.quote, odd=given.odd)
        )
        named = {role: names[at] for role, at in chosen.items()}
        return histories.rows(read, named, given.say, grows=len(every) > len(chosen))

    return batches


READER = ReaderEntry(name="recbole", read=read, begins=lambda file: file.suffix == ".inter")
