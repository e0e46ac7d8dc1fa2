"""The inputs of an exported program: their names, their shapes, and how to compute them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.batches import context
from jaxrec.batches.context import BASKET, GAPS, LONGEST, MOMENT, OCTAVES, PARTS, SECOND, USER
from jaxrec.data.attributes.user_columns import Column

ASKED = "asked_"  # prefix of the kinds that depend on the time of asking
TOP = PARTS * (OCTAVES[1] - OCTAVES[0])
#: how the number of each kind is computed for an event of the history; 0 always means unknown
RULES = {
    "gap": f"floor(log2(1 + s)) + 1, at most {GAPS}, where s are the whole seconds since the event before it in the "
    "history; 0 at its first event",
    "hour": "the hour of the day, 0 to 23, plus 1, in {zone}",
    "weekday": "the day of the week, Monday is 1 and Sunday 7, in {zone}",
    "month": "the month, January is 1, in {zone}",
    "weight": f"for a weight w: 1 if w = 0, 2 + p if w > 0, {3 + TOP} + p if w < 0, with p = "
    f"{-PARTS * OCTAVES[0]} + round({PARTS} * log2(max(|w|, 2^{OCTAVES[0]}))), at most {TOP}; "
    "halves are rounded to the even number",
    "session": "2 where a session begins at the event, else 1",
    "type": "the position of the event's type in values, from 1",
    "switch": "1 if the item and that of the event before it in the history share a topic (topics has those of each "
    "of ids), 2 if they don't; 0 at the first event, and if one of the two has no topics",
    MOMENT: f"the whole seconds since the history's first event whose time is known, plus 1, at most {LONGEST}",
    BASKET: "twice the number of the event's basket in the history, from 1, plus 1 where it is the first event of its "
    "basket; events with the same time form a basket",
}
LATER = (
    "at the newest event, the {plain} that an event at the time of asking would have; at an earlier one, that of the "
    "event after it"
)


def names_of(kinds: Sequence[str]) -> list[str]:
    """Returns the names of the inputs for kinds of context, in their order.

    >>> names_of(["gap", "user age", "moment"])
    ['gap', 'user_age', 'moment']
    """
    return [f"user_{kind.removeprefix(USER)}" if kind.startswith(USER) else kind for kind in kinds]


def shapes_of(kinds: Sequence[str], rows: Any, length: int) -> list[jax.ShapeDtypeStruct]:
    """Returns the shapes of these inputs: [rows, length] int32 for events, [rows] int32 for user columns."""
    per_event = jax.ShapeDtypeStruct((rows, length), jnp.int32)
    per_user = jax.ShapeDtypeStruct((rows,), jnp.int32)
    return [per_user if steady else per_event for steady in context.is_steady(kinds)]


def assembled(kinds: Sequence[str], columns: Sequence[jax.Array], items_BL: jax.Array, masks: int) -> jax.Array | None:
    """Assembles the context of a model, [B, L + masks, K] int32, from these inputs; None without kinds.

    Args:
        kinds: the kinds of context of the model.
        columns: an array for each kind, as in `shapes_of`.
        items_BL: the histories, 0 after the newest; programs.START for a user without one.
        masks: the number of mask slots after a history. Kinds that depend on the time of asking are given at the newest
            event, and move to the last of these slots.
    """
    if not kinds:
        return None
    items_BT = jnp.pad(items_BL, ((0, 0), (0, masks)))
    slots, length_B1 = jnp.arange(items_BT.shape[1]), (items_BL != 0).sum(-1, keepdims=True)
    shown = []
    for steady, asked, given in zip(context.is_steady(kinds), context.is_asked(kinds), columns, strict=True):
        if steady:
            shown.append(jnp.where(slots < length_B1 + masks, given[:, None], 0))
            continue
        padded = jnp.pad(given, ((0, 0), (0, masks)))
        if asked and masks:
            newest_B1 = jnp.take_along_axis(given, jnp.maximum(length_B1 - 1, 0), axis=1)
            padded = jnp.where(slots == length_B1 + masks - 1, newest_B1, 0)
        shown.append(padded)
    return jnp.stack(shown, axis=-1)


def columns_of(kinds: Sequence[str], contexts: Sequence[np.ndarray], length: int, masks: int) -> list[np.ndarray]:
    """Returns the inputs that hold these contexts, one for each kind: the reverse of `assembled`.

    Args:
        kinds: the kinds of context of the model.
        contexts: the context of each history, [events + masks, K].
        length: L, at least the number of events of each history.
        masks: as for `assembled`.
    """
    columns = []
    for kind, (steady, asked) in enumerate(zip(context.is_steady(kinds), context.is_asked(kinds), strict=True)):
        if steady:
            columns.append(np.array([own[0, kind] for own in contexts], np.int32))
            continue
        given = np.zeros((len(contexts), length), np.int32)
        for row, own in enumerate(contexts):
            events = len(own) - masks
            given[row, :events] = own[:events, kind]
            if asked and masks:
                given[row, events - 1] = own[-1, kind]
        columns.append(given)
    return columns


def drawn(
    kinds: Sequence[str],
    events: int,
    masks: int,
    types: Sequence[str],
    columns: Sequence[Column],
    random: np.random.Generator,
) -> np.ndarray:
    """Draws a random context for a history of this many events, [events + masks, K], to compare programs."""
    sizes = {"type": len(types)} | {USER + column.name: column.size for column in columns}
    times = np.cumsum(random.integers(0, 1 << random.integers(0, 20), events) * random.integers(0, 2, events)) * SECOND
    times[random.random(events) < 0.1] = context.UNKNOWN
    dated = context.Events(np.array([0, events]), times)
    found = np.zeros((events + masks, len(kinds)), np.int32)
    for at, kind in enumerate(kinds):
        if kind in (MOMENT, BASKET):
            found[:events, at] = context.numbers(dated, [kind])[:, 0]
            continue
        size = sizes.get(kind, context.kind_of(kind).size)
        found[:, at] = random.integers(0, size + 1, 1 if context.is_steady([kind])[0] else events + masks)
    return found


def described(
    kinds: Sequence[str],
    length: int,
    zone: str,
    types: Sequence[str] = (),
    columns: Sequence[Column] = (),
    topics: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Describes how to compute the inputs for kinds of context, for the JSON file beside an exported program.

    Args:
        kinds: the kinds of context of the model.
        length: L.
        zone: the training's `context_zone`.
        types: names of the event types, in the order of their numbers from 1.
        columns: the user columns that the model uses.
        topics: topics of the items, as returned by `topics.values`.
    """
    by_name, found = {column.name: column for column in columns}, []
    for kind, name in zip(kinds, names_of(kinds), strict=True):
        if kind.startswith(USER):
            found.append(
                {"name": name, "shape": ["b"], "dtype": "int32", **_of_users(by_name[kind.removeprefix(USER)])}
            )
            continue
        plain = kind.removeprefix(ASKED)
        about = RULES[plain].format(zone=zone)
        if plain != kind:
            about = f"{LATER.format(plain=plain)}: {about}"
        found.append({"name": name, "shape": ["b", length], "dtype": "int32", "about": about})
        if kind == "type":
            found[-1]["values"] = list(types)
        if kind == "switch" and topics is not None:
            found[-1]["topics"] = [[number for number in row if number] for row in topics[1:].tolist()]
    return found


def _of_users(column):
    if column.values:
        about = "the position in values, from 1, of the user's value as text (integers as they are printed)"
        return {"about": about, "values": list(column.values)}
    about = (
        "the position in ends, from 1, of the first that is at least the user's number (for a date: seconds since "
        "1970, UTC); the last position if none is"
    )
    return {"about": about, "ends": list(column.ends)}
