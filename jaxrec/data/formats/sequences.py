"""Reads lines of histories, as in sequences.txt with the files beside it, and "user item" lines.

The rules:
- In a file named sequences.txt, each line holds a user (or session) and its items, oldest first.
- Any other text file with exactly two tokens on each line holds "user item" lines, the format of the SASRec
  repositories: a user's items are in the order of the lines, and users in the order of their first lines. Any other
  lines are histories.
- Lines with the same number of tokens, at least three, are a table without a header if a column from the third on looks
  like ratings or times. They are rejected, unless the file is named sequences.txt or the format is given.
- Tokens are separated by spaces or tabs. `interactions.as_ids` says which become integers. A line with a token that
  isn't an id, see `data.ids`, is bad.
- Blank lines are allowed only at the end of a file; elsewhere, a blank line may be a lost history.
- interactions.csv beside sequences.txt, with the same rows in the same order, adds times, weights, types and sessions.
  train_sessions in stats.json beside it gives the number of training sessions.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from jaxrec.data import columns as cols
from jaxrec.data.files.text import LINES, BadRows, File, fail, pieces, short
from jaxrec.data.formats import lines, tables
from jaxrec.data.ids import Ids
from jaxrec.data.interactions import Catalogue, Interactions
from jaxrec.data.log import Log, only_item, parts
from jaxrec.data.values.spellings import kind_of
from jaxrec.system.errors import UserError
from jaxrec.system.files import parse_json

NAME = "sequences.txt"
WIDEST = 50  # maximum columns of a table to recognise
#: moves an item that stands above its users on a line of its own (7:) to the beginning of each of their lines
ABOVE = """awk '/^[0-9]+:/ {split($0, item, ":"); next} {print item[1] "," $0}'"""


def read(
    file: File,
    bad: BadRows,
    say: Callable[[str], None],
    kind: str = "",
    keep_na: bool = False,
    time_format: str | None = None,
    asked: bool = False,
) -> Interactions:
    """Reads the interactions of a file of lines; see `reading.read`.

    Args:
        file: the file.
        bad: collects bad lines.
        say: receives notes.
        kind: kind of the ids, as for `kind_of`.
        keep_na: as for `Ids`.
        time_format: format of the dates in interactions.csv beside it.
        asked: whether the user gave the format.
    """
    if file.name != NAME and not asked and (command := lines.tabbed(file)):
        told = "rows of a table, with cells that are empty or of several words"
        others = "or say --format sequences if these are a user and that user's items"
        fail(file, 1, tables.first_line(file), f"{told}: prepare it with {command}, {others}")
    if file.name != NAME and not asked and (command := lines.marked(file)):
        told, others = "rows of a table, as all lines are", "or say --format sequences if these are histories"
        fail(file, 1, tables.first_line(file), f"{told}: prepare it with {command}, {others}")
    users, tokens = (Ids(role, kind_of(kind, role), keep_na) for role in ("user", "item"))
    user_codes, item_codes, counts, first_lines, blank = [], [], [], [], []
    for piece in pieces(file):
        found, heads, rest, numbers = _tokens(file, _lines(file, piece, bad, blank), bad, users, tokens)
        user_codes.append(users.number(heads, file))
        item_codes.append(tokens.number(rest, file))
        counts.append(numbers)
        first_lines.append(found["line"].to_numpy())
    if file.name != NAME and not asked:
        _check_first(file)
    bad.close()
    if not counts or not users.count:
        raise UserError(f"{file}, line 1: the file is empty: put a user and that user's items on every line")
    user, item, count, line = map(np.concatenate, (user_codes, item_codes, counts, first_lines))
    paired = file.name != NAME and bool((count == 1).all())
    if not paired:
        _check_histories(file, users, user, count, line, asked)
    for note in [*users.notes(), *tokens.notes()]:
        say(note)
    ids, place = tokens.order()
    if len(ids) < 2:
        raise UserError(only_item(f"{file}, line {line[0]}", str(ids[0]), " of the file"))
    user_ids, user_place = users.order()
    if paired:  # number the users in the order of their first lines
        first = np.full(users.count, len(user))
        np.minimum.at(first, user, np.arange(len(user)))
        rank = np.empty(users.count, np.int64)
        rank[np.argsort(first)] = np.arange(users.count)
        order = np.argsort(rank[user], kind="stable")
        item, count = item[order], np.bincount(rank[user], minlength=users.count)
        names = user_ids[user_place[np.argsort(first)]]
    else:
        names = user_ids[user_place[user]]
    offsets = np.append(0, np.cumsum(count)).astype(np.int64)
    data = Interactions(
        items=place[item] + np.int32(1), offsets=offsets, users=names, catalogue=Catalogue(ids), name=str(file)
    )
    if file.name != NAME:
        return data
    if beside := file.beside("interactions.csv"):
        data = _with_interactions(data, file, beside, say, (kind, keep_na, time_format))
    if beside := file.beside("stats.json"):
        data = _with_training(data, beside)
    return data


def _lines(file: File, piece, bad: BadRows, blank: list) -> pl.DataFrame:
    """Returns the lines of a piece that hold a history, with their numbers and with single spaces between tokens.

    Args:
        file: the file.
        piece: whole lines of the file.
        bad: collects bad lines.
        blank: the blank lines at the end so far; updated.
    """
    text = piece.text.decode().replace("\t", " ")
    if "  " in text:
        text = re.sub(" {2,}", " ", text)
    text = text.replace(" \n", "\n").replace("\n ", "\n").removeprefix(" ")
    lines = pl.Series("text", text.split("\n")[:-1], dtype=pl.String)
    frame = pl.DataFrame({"line": np.arange(piece.first, piece.first + len(lines)), "text": lines})
    alone = ~lines.str.contains(" ", literal=True).to_numpy()
    if not alone.any() and not blank:
        return frame
    last = frame.filter(lines != "")["line"].max() or 0
    odd = [*blank, *frame.filter(pl.Series(alone)).iter_rows()]
    blank[:] = [(number, row) for number, row in odd if not row and number > last]
    if len(blank) > LINES:
        fail(file, blank[0][0], "", f"over {LINES:,} blank lines one after another: remove them")
    for number, row in odd[: len(odd) - len(blank)]:
        cure = "a blank line before the end of the file: remove it, or restore the history it held"
        if row:
            commas = " (a comma or semicolon does not separate tokens: spaces and tabs do)"
            cure = "a user without an item: add the items or remove the line" + commas * bool(re.search("[,;]", row))
            if re.fullmatch("[0-9]+:", row):
                cure = _of_netflix(file)
        bad.add(file, f"line {number}", row, cure)
    return frame.filter(pl.Series(~alone))


def _of_netflix(file: File) -> str:
    """Returns what to do about items on lines of their own above the lines of their users."""
    command = f"{lines.unpacked(file)}`{ABOVE} {shlex.quote(str(file))} >log.csv`"
    cure = f"{command} writes it before each, then `--input log.csv --item 1 --user 2 --weight 3 --time 4`"
    return f"an item above its users, as in the Netflix Prize: {cure}"


def _tokens(file: File, lines: pl.DataFrame, bad: BadRows, users: Ids, items: Ids):
    """Returns the lines that have valid ids, their users [n], their items concatenated, and their item counts [n]."""
    words = lines["text"].str.split(" ")
    lengths = words.list.len().to_numpy().astype(np.int64)
    flat = words.explode()
    heads = np.cumsum(lengths) - lengths
    is_item = np.ones(len(flat), bool)
    is_item[heads] = False
    heads, rest = (flat.filter(pl.Series(mask)) for mask in (~is_item, is_item))
    (heads, wrong), (rest, flaws) = users.clean(heads, file), items.clean(rest, file)
    if not any(mask.any() for mask, _ in wrong + flaws):
        return lines, heads, rest, lengths - 1
    owner, why = np.repeat(np.arange(len(lines)), lengths - 1), {}
    spoiled = [(np.flatnonzero(mask.to_numpy()), reason) for mask, reason in wrong]
    spoiled += [(owner[mask.to_numpy()], reason) for mask, reason in flaws]
    for at, reason in spoiled:
        why |= {line: why.get(line, reason) for line in np.unique(at).tolist()}
    kept = np.ones(len(lines), bool)
    kept[list(why)] = False
    for line in sorted(why):
        number, row = lines.row(line)
        bad.add(file, f"line {number}", row, why[line])
    good = pl.Series(kept)
    return lines.filter(good), heads.filter(good), rest.filter(pl.Series(kept[owner])), lengths[kept] - 1


def _check_histories(
    file: File, users: Ids, user: np.ndarray, count: np.ndarray, line: np.ndarray, asked: bool
) -> None:
    """Checks that no user has two lines, and that the lines aren't table rows."""
    command, looks = (_may_be_table(file, count) and lines.as_table(file)) or ("", False)
    if users.count == len(user):
        if looks and not asked:
            cure = f"prepare it with {command}, or say --format sequences if these are a user and that user's items"
            fail(file, line[0], _line(file, line[0]), f"looks like the row of a table, as all lines do: {cure}")
        return
    first = np.full(users.count, len(user))
    np.minimum.at(first, user, np.arange(len(user)))
    again = int(np.flatnonzero(first[user] != np.arange(len(user)))[0])
    name = users.tokens()[int(user[again])]
    cure = "join that user's items into one line"
    if command:
        cure = f"these are rows of a table: prepare it with {command}; or {cure}"
    elif file.name != NAME:  # most likely "user item" lines with a flaw, or a table
        odd = int(np.flatnonzero(count != 1)[0])
        cure += (
            f"; or, if these are 'user item' lines, mend line {line[odd]}, with {count[odd] + 1} tokens instead of two"
        )
        cure += f": {short(_line(file, line[odd]))}"
    place = f"line {line[first[user[again]]]}"
    fail(file, line[again], _line(file, line[again]), f"user {name} has {place} already: {cure}")


def _check_first(file: File) -> None:
    """Checks that the first line isn't a header or a comment, and that lines don't hold a user and a list."""
    if not (line := tables.first_line(file)).strip():
        return
    others = "or say --format sequences if these are a user and that user's items"
    if cure := lines.header_cure(file):
        fail(file, 1, line, f"looks like a header or a comment, unlike all other lines: {cure}, {others}")
    if cure := lines.lists_cure(file):
        fail(file, 1, line, f"looks like a user beside a list, as other lines do: {cure}, {others}")


def _may_be_table(file: File, count: np.ndarray) -> bool:
    return file.name != NAME and 1 < count[0] < WIDEST and bool((count == count[0]).all())


def _line(file: File, number: int) -> str:
    """Returns a line of a file by number."""
    for piece in pieces(file):
        if number < piece.first + piece.text.count(b"\n"):
            return " ".join(piece.lines()[number - piece.first].split())
    raise IndexError(number)


def _with_interactions(data: Interactions, file: File, beside: File, say, reading: tuple) -> Interactions:
    """Adds the times, weights, types and sessions of interactions.csv to the histories.

    Args:
        data: the histories.
        file: their file.
        beside: interactions.csv.
        say: receives notes.
        reading: kind of the ids, keep_na and time_format, as for Log.

    Raises:
        UserError: if its rows don't match the sequences.
    """
    line = tables.first_line(beside)
    names = tables.fields(line, ",")
    chosen = cols.choose(names, {}, beside)
    log = Log({role: names[number] for role, number in chosen.items()}, bad := BadRows(), *reading)
    for batch in tables.delimited(beside, ",", len(names), chosen):
        log.add(batch)
    bad.close()
    owner = np.repeat(np.arange(len(data.users)), np.diff(data.offsets))
    for role, codes, wanted in (("user", owner, data.users), ("item", data.items - 1, data.catalogue.ids)):
        role = role if role in chosen else "session"
        _check_same(beside, file, role, log, codes, wanted)
    extra = {}
    if log.times:
        try:
            micro, relative, note = log.times.close(cols.plain(names[chosen["time"]]).startswith("relative"))
        except ValueError as error:
            raise UserError(f"{beside}: {error}") from None
        falls = np.flatnonzero((np.diff(micro) < 0) & (owner[1:] == owner[:-1]))
        if len(falls):
            raise UserError(
                f"{beside}, line {falls[0] + 3}: a time before that of the line above: sort by user and time"
            )
        extra |= {"times": micro, "relative": relative}
        for each in (note, *log.times.notes()):
            say(each)
    if "weight" in chosen:
        extra["weights"] = log.weights.whole()
    if log.types:
        extra["types"] = log.types.close()
        for each in log.types.notes():
            say(each)
    if "session" in chosen and "user" in chosen:
        ids, place = log.ids["session"].order()
        extra["sessions"] = parts(data.offsets, place[log.codes["session"].whole()], ids)
    return replace(data, **extra)


def _check_same(beside: File, file: File, role: str, log: Log, codes: np.ndarray, wanted: np.ndarray) -> None:
    tokens, found = log.ids[role].tokens().to_list(), log.codes[role].whole()
    if len(found) != len(codes):
        raise UserError(
            f"{beside} has {len(found):,} rows, {file} {len(codes):,} items: make them the same, or remove it"
        )
    number = {str(id): code for code, id in enumerate(wanted.tolist())}
    as_wanted = np.array([number.get(token, -1) for token in tokens], np.int64)[found]
    differs = np.flatnonzero(as_wanted != codes)
    if len(differs):
        at = int(differs[0])
        raise UserError(
            f"{beside}, line {at + 2}: {role} {tokens[found[at]]} where {file} has {wanted[codes[at]]}: "
            "the two hold the same rows in the same order; mend one, or remove interactions.csv"
        )


def _with_training(data: Interactions, stats: File) -> Interactions:
    """Adds the number of training sessions from stats.json, if it has one."""
    try:
        with stats.open() as stream:
            told = parse_json(stream)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{stats}: not JSON ({error}): mend it, or remove it") from None
    number = told.get("train_sessions") if isinstance(told, dict) else None
    if number is None:
        return data
    if type(number) is not int or not 0 < number < len(data.users):
        raise UserError(
            f"{stats}: train_sessions is {number!r}: a number from 1 to {len(data.users) - 1:,}, the lines less one"
        )
    return replace(data, train_sessions=number)
