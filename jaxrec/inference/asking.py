"""Whose histories a command answers: of a whole log, or as an evaluation gives them."""

import numpy as np

from jaxrec.data import event_types, splits
from jaxrec.data.interactions import Interactions, Sessions
from jaxrec.data.storage.ragged import slices
from jaxrec.evaluation.evaluator import questions_of
from jaxrec.inference.recommender import Recommender
from jaxrec.system.errors import UserError
from jaxrec.training.assembly import split_of
from jaxrec.training.workdirs import workdir
from jaxrec.training.workdirs.fetching import here


def histories(recommender: Recommender, dataset: str | None, part: str | None) -> Interactions:
    """The users of a training with their histories.

    Args:
        dataset: where the data are; where they were if None.
        part: "test" or "valid": those who are asked there, with what the question gives; None: all users, with all.

    Raises:
        UserError: the questions of the training's split are not one a user, or it is a split of other data.
    """
    log = recommender.log(dataset)
    if part is None:
        return log
    if recommender.path is not None:
        path = here(recommender.path, None)
        workdir.check_data(path, workdir.read(path), log)
    split = split_of(recommender.config, log)
    questions = questions_of(split, part)
    if not splits.one_a_user(questions):
        asks = "for all items of a basket" if split.together else "after every event of a session"
        raise UserError(f"--split {part}: this training's split asks {asks}: leave it out")
    return given(split.interactions, questions)


def given(interactions: Interactions, questions: splits.Questions) -> Interactions:
    """The users who are asked, each with the history that the question gives: items, and what is known of their events.

    >>> from jaxrec.data.interactions import from_sequences
    >>> log = from_sequences([[7, 8, 9, 10], [8, 9]])
    >>> found = given(log, splits.last_item(log).test)
    >>> found.users.tolist(), found.items.tolist()
    ([1], [1, 2, 3])
    """
    at = slices(questions.start, questions.stop)
    of = lambda column: None if column is None else np.asarray(column[at])
    return Interactions(
        items=np.asarray(interactions.items[at]),
        offsets=np.append(0, np.cumsum(questions.stop - questions.start)),
        users=interactions.users[questions.source],
        catalogue=interactions.catalogue,
        name=interactions.name,
        times=of(interactions.times),
        relative=interactions.relative,
        weights=of(interactions.weights),
        types=event_types.taken(interactions.types, at),
        sessions=_sessions(interactions.sessions, at, np.cumsum(questions.stop - questions.start)),
        user_columns=interactions.columns_of(questions.source),
    )


def _sessions(sessions, at, ends):
    """The sessions of histories of these events of a log, which end at these places; None where it has none."""
    if sessions is None:
        return None
    number = np.searchsorted(sessions.offsets, at, side="right") - 1
    begins = np.diff(number, prepend=-1) != 0
    begins[ends[:-1][ends[:-1] < len(at)]] = True
    return Sessions(np.append(np.flatnonzero(begins), len(at)), sessions.ids[number[begins]])
