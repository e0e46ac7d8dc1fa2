"""Whose histories a command answers: of a whole log, or as an evaluation gives them."""

from jaxrec.data import splits
from jaxrec.data.interactions import Interactions
from jaxrec.evaluation.evaluator import questions_of
from jaxrec.inference.recommender import Recommender
from jaxrec.system.errors import UserError
from jaxrec.training.assembly import split_of


def histories(recommender: Recommender, dataset: str | None, part: str | None) -> Interactions:
    """The users of a training with their histories.

    Args:
        dataset: where the data are; where they were if None.
        part: "test" or "valid": those who are asked there, with what the question gives; None: all users, with all.

    Raises:
        UserError: the questions of the training's split are not one a user.
    """
    log = recommender.log(dataset)
    if part is None:
        return log
    split = split_of(recommender.config, log)
    questions = questions_of(split, part)
    if not splits.one_a_user(questions):
        raise UserError(f"--split {part}: this training's split asks after every event of a session: leave it out")
    return splits.given(split.interactions, questions)
