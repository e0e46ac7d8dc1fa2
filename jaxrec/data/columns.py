"""Chooses the columns for user, item, time, weight, event type and session, by given names or by common names."""

import re
import shlex
import unicodedata
from collections.abc import Sequence

from jaxrec.data.files.text import some
from jaxrec.system.errors import UserError

ROLES = ("user", "item", "time", "weight", "type", "session")
#: common column names per role, in order of preference; compared in lower case, without "_", "-" and spaces
KNOWN = {
    "user": "userid user uid reviewerid customerid visitorid memberid username author "
    "customer custid clientid client accountid buyerid householdkey profileid",
    "item": "itemid item iid movieid bookid parentasin asin productid articleid songid trackid businessid gmapid "
    "sku skuid product productcode stockcode videoid recipeid animeid gameid appid newsid venueid poiid aid isbn "
    "artistid",
    "time": "timestamp time ts unixreviewtime unixtime datetime eventtime createdat date tdat relativetimestamp "
    "eventtimestamp eventdate eventdatetime unixtimestamp timestampms timems utctimestamp servertime "
    "purchasedate purchasetime purchasedat orderdate ordertime orderedat invoicedate transactiondate transactiontime "
    "reviewdate ratedat clicktime viewedat playedat",
    "weight": "rating overall weight score stars playtime hours",
    "type": "eventtype event action actiontype behavior behaviour behaviortype behaviourtype interactiontype "
    "interaction activitytype type",
    "session": "sessionid session usersession visitid",
}
#: columns that identify items more reliably than item_id, which may be a row number
PRODUCTS = {"productid", "sku", "skuid", "asin", "articleid", "videoid", "movieid", "bookid", "trackid", "stockcode"}
#: roles whose column is read from a table only if it is named -> what it would be read as
UNREAD = {"weight": "as the weight", "type": "as the types of events"}
#: words in the names of columns that hold times, or places in an order
TIMES = frozenset(["at", "on", "ts", "time", "date", "datetime", "timestamp", "tstamp", "stamp", "unixtime"])
ORDERS = frozenset(["order", "sequence", "seq", "position", "step", "timeframe"])
NONE = "none"  # means no column, as "" does
TYPES = "token", "token_seq", "float", "float_seq"  # in RecBole's column names, such as user_id:token


def plain(name: str) -> str:
    """Returns a name normalised as in `KNOWN`; RecBole's `user_id:token` becomes `userid`.

    >>> plain("User_ID"), plain("user_id:token")
    ('userid', 'userid')
    """
    return seen(name).partition(":")[0].lower().translate(dict.fromkeys(map(ord, "_- ")))


def seen(name: str) -> str:
    r"""Returns a name as it looks on screen: without invisible characters, with plain spaces and letters (NFKC).

    >>> seen("\ufeffuser\xa0id")
    'user id'
    """
    marked = unicodedata.normalize("NFKC", name)
    return "".join(letter for letter in marked if unicodedata.category(letter) != "Cf").strip()


def places(name: str, names: Sequence[str]) -> list[int]:
    """Returns the indices of the columns with this name: exact matches, otherwise by `seen`, otherwise by `_loose`."""
    for form in (str, seen, _loose):
        wanted = form(name)
        if wanted and (found := [at for at, each in enumerate(names) if form(each) == wanted]):
            return found
    return []


def _loose(name: str) -> str:
    """Returns a name as `plain` does, but keeps what follows a colon unless it is one of RecBole's types."""
    stem, _, kind = seen(name).partition(":")
    return plain(stem) if kind in ("", *TYPES) else f"{plain(stem)}:{plain(kind)}"


def known(name: str) -> bool:
    """Returns whether this is a common name of a user, item or session column."""
    return any(plain(name) in KNOWN[role].split() for role in ("user", "item", "session"))


def fits(role: str, name: str) -> bool:
    """Returns whether this is a common name of a column of a role."""
    return plain(name) in KNOWN[role].split()


def is_time(name: str) -> bool:
    """Returns whether this is a common name of a column of times."""
    return plain(name) in KNOWN["time"].split()


def sounds_like_time(name: str) -> int:
    """Returns 1 if a name suggests times, -1 if it suggests ids, otherwise 0.

    >>> [sounds_like_time(name) for name in ("RATING_TIME", "clickedAt", "session_start", "RATING_ID")]
    [1, 1, 0, -1]
    """
    named = words(name)
    if named[-1] in ("id", "uid", "key", "hash"):
        return -1
    return int(not TIMES.isdisjoint(named))


def sounds_like_order(name: str) -> bool:
    """Returns whether a name suggests times or places in an order: timeframe, step, cart_position."""
    return not (TIMES | ORDERS).isdisjoint(words(name))


def belong(clock: str, day: str) -> bool:
    """Returns whether a column of times of day and a column of days go together, by their names.

    >>> belong("Loan Time", "Loan Date"), belong("time", "Sale Date"), belong("duration", "release_date")
    (True, True, False)
    """
    own, other = ({*words(name)} - TIMES for name in (clock, day))
    return bool(own & other) or (not own and sounds_like_time(clock) > 0)


def words(name: str) -> list[str]:
    """Returns the words of a name, in lower case; at least one.

    >>> words("addToCart_order2")
    ['add', 'to', 'cart', 'order']
    """
    apart = re.sub("([a-z])([A-Z])", r"\1_\2", seen(name)).lower()
    return re.findall("[a-z]+", apart) or [apart]


def are_numbers(given: dict[str, str]) -> bool:
    """Returns whether columns are given, and all of them by number; `given` as for `choose`."""
    said = [name for name in given.values() if name]
    return bool(said) and all(name.isdecimal() for name in said)


def are_counted(names: Sequence[str]) -> bool:
    """Returns whether the columns are called 0, 1, 2 and so on, as pandas names unnamed columns."""
    return len(names) > 1 and list(names) == [str(number) for number in range(len(names))]


def numbered(count: int) -> list[str]:
    """Returns the names of the columns of a table without a header.

    >>> numbered(2)
    ['column 1', 'column 2']
    """
    return [f"column {number}" for number in range(1, count + 1)]


def flag_of(names: list[str], at: int) -> str:
    """Returns how to give a column to a flag of prepare.py: by name, or by number if the columns have no names.

    >>> flag_of(["column 1", "column 2"], 1), flag_of(["viewer", "the film"], 1)
    ('2', "'the film'")
    """
    return str(at + 1) if names[:1] == numbered(1) else shlex.quote(names[at])


def number_of(text: str, names: list[str]) -> int | None:
    """Returns the index, from 0, of a column given by number, from 1; None if there is no such column."""
    fits = text.isascii() and text.isdecimal() and len(text) <= len(str(len(names)))
    return int(text) - 1 if fits and 1 <= int(text) <= len(names) else None


def choose(
    names: list[str], given: dict[str, str], where: object, by_name: tuple[str, ...] | list[str] = ROLES
) -> dict[str, int]:
    """Chooses the columns of a table: {role: index of the column}.

    Args:
        names: the column names.
        given: {role: name, number from 1, or "" for none}, as the person gave them.
        where: the table, for messages.
        by_name: roles whose columns may be recognised by name.

    Raises:
        UserError: if a named column doesn't exist; no column is found for the user or session, or for the item; or two
            columns have the same name, or names of the same role.
    """
    chosen = {}
    if are_counted(names) and "0" not in given.values():
        for role in (role for role, name in given.items() if name in names):
            raise UserError(
                f"{where}: --{role} {given[role]} may be the column called {given[role]}, or the one before it, which "
                f"is number {given[role]}: the columns are called {some(names, 3)} and so on: rename them"
            )
    for role, name in given.items():
        if not name:  # "" leaves the role out
            continue
        called = places(name, names)
        if len(called) > 1:
            raise UserError(f"{where}: --{role} {name}: two columns have this name: {_numbers(called, role)}")
        if called:
            chosen[role] = called[0]
        elif (number := number_of(name, names)) is not None:
            chosen[role] = number
        else:
            raise UserError(f"{where}: --{role} {name}: no such column; the columns are {some(names, 30)}")
    if len(set(chosen.values())) < len(chosen):
        raise UserError(f"{where}: one column cannot be two things: {_said(names, chosen)}")
    free = {}
    for number, name in enumerate(names):
        if number not in chosen.values():
            free.setdefault(plain(name), []).append(number)
    for role in by_name:
        if role not in given and (found := next((each for each in KNOWN[role].split() if each in free), None)):
            numbers = free.pop(found)
            if len(numbers) > 1:
                raise UserError(_compete(where, names, role, numbers))
            (chosen[role],) = numbers
    for roles in (("user", "session"), ("item",)):
        if not any(role in chosen for role in roles):
            flags = " or ".join(f"--{role} COLUMN" for role in roles)
            taken = [names[at] for at in chosen.values() if any(plain(names[at]) in KNOWN[r].split() for r in roles)]
            hint = f" ({some(taken)} is already used)" if taken else ""
            if not any(map(known, names)):
                hint = "; if these are not names but the first row, give numbers, such as --user 1 --item 2"
            if are_counted(names):
                hint = ", such as --user 0 --item 1 if these are their names" + hint
            raise UserError(
                f"{where}: no column for the {roles[0]} is recognised by its name; the columns are {some(names, 30)}: "
                f"name it to prepare.py with {flags}{hint}"
            )
    return {role: chosen[role] for role in ROLES if role in chosen}


def _compete(where, names: list[str], role: str, numbers: list[int]) -> str:
    """Returns the message for several columns whose names fit a role."""
    called = [names[number] for number in numbers]
    if len(set(called)) < len(called):
        return f"{where}: two columns are called {called[0]}: {_numbers(places(called[0], names), role)}"
    return f"{where}: {some(called)} could all be the {role}: choose one, such as --{role} {called[0]}"


def _numbers(called: list[int], role: str) -> str:
    numbers = " or ".join(str(at + 1) for at in called)
    return f"rename one, or choose one by number, --{role} {numbers}"


def said(names: list[str], chosen: dict[str, int], given: dict[str, str] | None = None) -> str:
    """Describes the chosen columns, and mentions unread ones that may hold the item, the weight or the event type.

    Args:
        names: the column names.
        chosen: {role: index of the column}.
        given: as for `choose`.
    """
    words = "columns: " + _said(names, chosen)
    others = [at for at, name in enumerate(names) if at not in chosen.values() and plain(name) in PRODUCTS]
    if others and "item" not in (given or {}) and plain(names[chosen["item"]]) in ("item", "itemid"):
        words += f"; {names[others[0]]} is not read: --item {flag_of(names, others[0])} reads it as the item"
    for role, what in UNREAD.items():
        unread = [at for at, name in enumerate(names) if at not in chosen.values() and _may_be(role, name)]
        if unread and role not in chosen and role not in (given or {}):
            words += f"; {names[unread[0]]} is not read: --{role} {flag_of(names, unread[0])} reads it {what}"
    return words


def _may_be(role: str, name: str) -> bool:
    """Whether a column, or a field of records such as events.type, has a common name of the role."""
    name = name.rpartition(".")[2] if role == "type" else name
    return plain(name) in KNOWN[role].split()


def refuse_order(names: list[str], numbers: list[int], where: object, forms: str | None) -> None:
    """Raises a UserError, since no column is recognised as the time by its name, but these hold times.

    Args:
        names: the column names.
        numbers: indices of the columns with times, the likeliest first.
        where: the table, for messages.
        forms: the --time-format that the first one's dates need; None if they need none, "" if they can't be read.
    """
    name, *others = (names[number] for number in numbers)
    take = f"take it with --time {flag_of(names, numbers[0])}"
    if forms:
        take += f" --time-format {forms}, as its dates are written"
    elif forms is not None:
        take = f"write its dates like 2014-04-01T03:00:00Z and {take}"
    also = f", as {'do' if len(others) > 1 else 'does'} {some(others)}" if others else ""
    another = " (or another of them)" if others else ""
    raise UserError(
        f"{where}: no column is recognised as the time by its name, but {name} reads as times{also}: {take}{another}, "
        f"or the order of the file with --time {NONE} (to prepare.py)"
    )


def refuse_days(time: str, finer: str, where: object) -> None:
    """Raises a UserError, since the column recognised as the time holds only days, and another also times of day."""
    raise UserError(
        f"{where}: {time} holds days alone, and {finer} times of day too: take --time {shlex.quote(finer)}, or --time "
        f"{shlex.quote(time)} if days are enough (to prepare.py)"
    )


def refuse_clock(time: str, dates: list[str], where: object, forms: str | None, numbers: bool) -> None:
    """Raises a UserError, since the column recognised as the time holds times of day, and others hold the dates.

    Args:
        time: the column with times of day.
        dates: the column with the dates, or the columns with their parts.
        where: the table, for messages.
        forms: the --time-format that the dates need; None if they need none, "" if they can't be read.
        numbers: whether the times of day are numbers, which may give the order on their own.
    """
    cures = ["join them into one column (2024-01-31 23:59:00) and name that with --time"]
    if len(dates) == 1 and forms != "":
        form = f" --time-format {forms}, as they are written," if forms else ""
        cures.append(f"take --time {shlex.quote(dates[0])}{form} if days are enough")
    if numbers:
        cures.append(f"take --time {shlex.quote(time)} if its numbers alone give the order")
    raise UserError(
        f"{where}: {time} holds times of day or other small numbers, and {some(dates)} the dates: "
        f"{', or '.join(cures)} (to prepare.py)"
    )


def _said(names, chosen):
    return ", ".join(f"{role} = {names[number]}" for role, number in chosen.items())
