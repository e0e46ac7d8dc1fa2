"""Selects the histories that a command answers: those of a whole log, or those that an evaluation shows the model."""

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
    """Returns the users of a training's data with the histories to answer.

    Args:
        recommender: the Recommender of the training.
        dataset: where the data are; None: where they were during training.
        part: "test" or "valid": the users evaluated there, each with the history that the evaluation shows the model;
            None: all users with their whole histories.

    Raises:
        UserError: the training's split asks more than one question per user, or `dataset` holds other data.
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
        raise UserError(f"--split {part}: this training's split asks {asks}: leave --split out")
    return given(split.interactions, questions)


def given(interactions: Interactions, questions: splits.Questions) -> Interactions:
    """Returns the users of these questions, each with the history given by the question, and all data of its events.

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
    """Returns the sessions of histories made of a log's events `at`, cut at `ends`; None if the log has no sessions."""
    if sessions is None:
        return None
    number = np.searchsorted(sessions.offsets, at, side="right") - 1
    begins = np.diff(number, prepend=-1) != 0
    begins[ends[:-1][ends[:-1] < len(at)]] = True
    return Sessions(np.append(np.flatnonzero(begins), len(at)), sessions.ids[number[begins]])
