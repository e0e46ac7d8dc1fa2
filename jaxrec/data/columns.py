"""Which column is the user, which the item: named by the person, or known by its name."""

from jaxrec.data.log import ROLES
from jaxrec.data.text import some
from jaxrec.errors import UserError

#: names by which columns are known, the first found wins; compared in lower case, without _, - and spaces
KNOWN = {
    "user": "userid user uid reviewerid customerid visitorid memberid username author",
    "item": "itemid item iid movieid bookid parentasin asin productid articleid songid trackid businessid gmapid",
    "time": "timestamp time ts unixreviewtime unixtime datetime eventtime createdat date tdat relativetimestamp",
    "weight": "rating overall weight score stars playtime hours",
    "session": "sessionid session",
}


def plain(name: str) -> str:
    """A name as `KNOWN` has it; RecBole's `user_id:token` is `userid`."""
    return name.strip().partition(":")[0].lower().translate(dict.fromkeys(map(ord, "_- ")))


def known(name: str) -> bool:
    """Whether a column of this name is a user, an item or a session."""
    return any(plain(name) in KNOWN[role].split() for role in ("user", "item", "session"))


def choose(names: list[str], given: dict[str, str], where) -> dict[str, int]:
    """{role: number of its column} for the columns of a table.

    Args:
        names: of the columns. given: {role: name, number from 1, or "" for none} as the person said.
        where: for messages.

    Raises:
        UserError: a column that was named is not there, or neither user nor session, or no item, is known by its name.
    """
    chosen = {}
    for role, name in given.items():
        if not name:  # "": the role is left out
            continue
        if name in names:
            chosen[role] = names.index(name)
        elif name.isdecimal() and 1 <= int(name) <= len(names):
            chosen[role] = int(name) - 1
        else:
            raise UserError(f"{where}: --{role} {name}: no such column; the columns are {some(names, 30)}")
    if len(set(chosen.values())) < len(chosen):
        raise UserError(f"{where}: one column cannot be two things: {_said(names, chosen)}")
    free = {plain(name): number for number, name in reversed(list(enumerate(names))) if number not in chosen.values()}
    for role in ROLES:
        if role not in given and (found := next((each for each in KNOWN[role].split() if each in free), None)):
            chosen[role] = free.pop(found)
    for roles in (("user", "session"), ("item",)):
        if not any(role in chosen for role in roles):
            flags = " or ".join(f"--{role} COLUMN" for role in roles)
            taken = [names[at] for at in chosen.values() if any(plain(names[at]) in KNOWN[r].split() for r in roles)]
            hint = f" ({some(taken)} is taken by another)" if taken else ""
            if not any(map(known, names)):
                hint = "; if these are no names but the first row, number them: --user 1 --item 2"
            raise UserError(
                f"{where}: no column for the {roles[0]} is known by its name; the columns are {some(names, 30)}: "
                f"name it to prepare.py with {flags}{hint}"
            )
    return {role: chosen[role] for role in ROLES if role in chosen}


def said(names: list[str], chosen: dict[str, int]) -> str:
    """The choice in words."""
    return "columns: " + _said(names, chosen)


def _said(names, chosen):
    return ", ".join(f"{role} = {names[number]}" for role, number in chosen.items())
