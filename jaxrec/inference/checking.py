"""Checks a Query and turns its external ids into item numbers."""

import numpy as np

from jaxrec.inference.attributes import Attributes, common
from jaxrec.inference.numbering import Numbering
from jaxrec.inference.queries import CheckedQuery, Query, Session
from jaxrec.inference.user_vectors import UserVectors
from jaxrec.system import arguments
from jaxrec.system.errors import UserError


def check_query(
    query: Query,
    which: str,
    numbering: Numbering,
    attributes: Attributes,
    user_vectors: UserVectors,
    *,
    items: int,
    exclude_seen: bool,
) -> CheckedQuery:
    """The CheckedQuery of a Query, whose Session, if it has one, is checked by the caller.

    Args:
        query: Query.
        which: the beginning of an error's message, such as "history 3: ".
        numbering: the Numbering of the catalogue.
        attributes: the Attributes of the catalogue.
        user_vectors: the UserVectors of the model.
        items: V, the number of items of the catalogue.
        exclude_seen: whether items of the history are left out if the Query doesn't say.

    Raises:
        UserError: a field has a wrong value; the message says which one.
    """

    def numbers(ids, name):
        return numbering.numbers(arguments.id_list(ids, name, which), f"{which}{name}: ")

    if not isinstance(query, Query):
        raise UserError(f"{which}{arguments.some([query])} is no Query: give Query(history, ...)")
    k, state = arguments.count(query.k, which), None
    if isinstance(query.history, Session):
        state, known, unknown, _ = query.history
    else:
        known, unknown = numbers(query.history, "history")
    if not known and query.strict:
        said = f"none of its ids is in the catalogue ({arguments.some(unknown)})" if unknown else "it is empty"
        raise UserError(f"{which or 'the history: '}{said}: give at least one item of the training data")
    blocked, more = numbers(() if query.block is None else query.block, "block")
    pools = attributes.pools({} if query.where is None else query.where, which)
    if query.candidates is not None:
        candidates, strangers = numbers(query.candidates, "candidates")
        pools.append(np.unique(np.array(candidates, np.int32)))
        more = [*dict.fromkeys(strangers), *more]
    pool = common(pools, items) if pools else None
    out = [*known, *blocked] if (exclude_seen if query.exclude_seen is None else query.exclude_seen) else blocked
    user, new = user_vectors.row(query.user, which)
    return CheckedQuery(list(known), state, [*unknown, *more, *new], min(k, items), out, pool, user)
