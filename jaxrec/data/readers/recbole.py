"""Reads RecBole's .inter, with the .item and the .user beside it."""

from jaxrec.data import columns as cols, tabular
from jaxrec.data.files.text import File, short, some
from jaxrec.data.formats import dialects, histories, tables
from jaxrec.data.given import Input
from jaxrec.data.interactions import Interactions
from jaxrec.data.reader import ReaderEntry, described, finished
from jaxrec.data.unread import times
from jaxrec.system.errors import UserError


def read(given: Input) -> Interactions:
    """Reads RecBole's .inter, with the .item and the .user of the same name beside it."""
    (file,) = given.files
    line = tables.first_line(file)
    if ":" not in line:
        raise UserError(f"{file}, line 1: {short(line)}: no typed header, such as user_id:token: say --format table")
    names, kinds = dialects.typed(line)
    chosen = cols.choose(names, dialects.with_lists(names, kinds, given.columns), file)
    given.say(cols.said(names, chosen))
    log = given.log({role: names[number] for role, number in chosen.items()})
    lists = [name for name, kind in zip(names, kinds, strict=True) if kind.endswith("_seq")]
    _check_lists(file, given, names, kinds, chosen)
    rows = _recbole_rows(file, given, names, kinds)
    table = tabular.Table(names, lists, rows, rows)
    times.check(given, file, table, chosen)
    given.collect(log, file, names, chosen, table.batches)
    return described(given, finished(given, log), log.columns["item"])


def _check_lists(file: File, given: Input, names: list[str], kinds: list[str], chosen: dict[str, int]) -> None:
    """Checks that no lists of items are left unread beside the items, unless --item is given; notes other lists."""
    item = names[chosen["item"]]
    used = {names[at] for at in chosen.values()} | {f"{names[at]}_list" for at in chosen.values()}
    lists = [name for name, kind in zip(names, kinds, strict=True) if kind == "token_seq" and name not in used]
    items = [name for name in lists if cols.plain(name.removesuffix("_list")) in cols.KNOWN["item"].split()]
    if items and "item" not in given.columns:
        raise UserError(
            f"{file}: {items[0]} holds lists of items beside {item}: call it {item}_list if they precede that item, or "
            f"say --item {items[0]} to take its lists for histories, --item {item} to leave them out"
        )
    if lists:
        given.say(f"{file}: lists that are not read: {some(lists)}")


def _recbole_rows(file: File, given: Input, names: list[str], kinds: list[str]):
    """Returns the function that reads columns of an .inter: {role: index} -> batches.

    A column item_id_list beside item_id holds the items before it; the same goes for times and ratings.
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
