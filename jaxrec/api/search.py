"""The configurations that a search tries: `default`, then single changes to it, then several at once."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxrec.api import fitting
from jaxrec.api.logs import Log
from jaxrec.config import parsing
from jaxrec.config.keys import Config
from jaxrec.data.interactions import Interactions
from jaxrec.system.errors import UserError
from jaxrec.training import auto

Changes = dict[str, Any]  #: {"model.dim": 128}
DRAWS = 6_400  # maximum number of draws of several changes
QUERY: Changes = {"model.norm": "query", "model.ffn": "relu", "model.ffn_multiplier": 1}
PRE: Changes = {"model.norm": "pre", "model.ffn": "gelu", "model.ffn_multiplier": 2}
DROPOUTS = 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7
LONGEST = 200
SAMPLED: Changes = {"loss.name": auto.SAMPLED, "loss.sampling": "mixed"} | {
    f"loss.{key}": value for key, value in auto.SAMPLINGS["mixed"].items()
}


@dataclass
class Trial:
    """A configuration to try: `default` with changes."""

    name: str  #: name of its folder
    changes: Changes
    of: str = ""  #: name of the trial that this one repeats with another seed
    rounds: int = 0  #: rounds completed
    seconds: float = 0.0  #: training time in this search
    score: float | None = None  #: best validation score so far
    epoch: float = 0.0  #: epoch reached
    ended: bool = False  #: whether its training is complete
    failed: str = ""  #: reason why it can't continue

    @property
    def rank(self) -> float:
        """Sort key: the score, or -inf if there is none."""
        return float("-inf") if self.score is None or self.failed else self.score

    def to_dict(self) -> dict:
        """Returns plain values."""
        return asdict(self)


def trial(changes: Changes) -> Trial:
    """Returns a Trial, named by its changes.

    >>> trial({}).name, trial({"model.dim": 128, "optim.learning_rate": 1e-3}).name
    ('default', 'dim-128-learning_rate-0.001')
    """
    bare = ("model.name", "loss.name")
    of = lambda key, value: value if key in bare else f"{key.rpartition('.')[2]}-{'none' if value == '' else value}"
    words = [of(key, value) for key, value in changes.items()]
    return Trial("-".join(words).replace("/", "_").replace(":", "_") or "default", dict(changes))


def another_seed(trial: Trial, number: int, seed: int) -> Trial:
    """Returns the trial with another seed."""
    return Trial(f"{trial.name}-seed-{number}", trial.changes | {"seed": seed + number}, of=trial.name)


def together(better: list[Trial]) -> Changes:
    """Combines the changes of several trials, best first, without trials that change the same key as a better one."""
    found: Changes = {}
    for each in better:
        if not found.keys() & each.changes.keys():
            found |= each.changes
    return found


def configuration(changes: Mapping[str, Any], keys: Mapping[str, Any], log: Log) -> Config:
    """Returns the Config of a trial: `default` with its changes, and the keys that the user set.

    Raises:
        UserError: if they don't fit together.
    """
    return fitting.configuration(fitting.DEFAULT, {**parsing.flatten(dict(keys)), **changes}, log)[0]


def candidates(base: Config, keys: Mapping[str, Any], log: Log, seed: int = 0) -> Iterator[Changes]:
    """Yields distinct valid changes: single ones first, then two or three at once.

    Args:
        base: the Config to change.
        keys: keys that the user set, which stay.
        log: the data.
        seed: seed for drawing two or three at once.
    """
    given, known = parsing.flatten(dict(keys)).keys(), [base]
    single = [changes for changes in _single(base, log.interactions) if not given & changes.keys()]
    for changes in itertools.chain(single, _drawn(single, seed)):
        try:
            made = configuration(changes, keys, log)
        except UserError:  # a key that the model doesn't have, or too little data
            continue
        if made not in known:
            known.append(made)
            yield changes


def _single(base: Config, interactions: Interactions) -> Iterator[Changes]:
    """Yields single changes, the most promising first."""
    model, rate = base.model, base.optim.learning_rate
    near = sorted((value for value in DROPOUTS if value != model.dropout), key=lambda value: abs(value - model.dropout))
    yield {"model.name": "gru4rec"}
    yield QUERY
    yield {"model.dropout": near[0]}
    if base.features:
        yield {"features": "", "id_dropout": 0.0}
    if known := auto.of_events(interactions):
        yield {"context": known}
    yield {"loss.label_smoothing": 0.2}
    if base.seen == "exclude" and auto.ranks_new(base.split):
        yield {"loss.seen": "keep" if base.loss.seen == "exclude" else "exclude"}
    yield {"model.dim": 2 * model.dim}
    yield {"optim.learning_rate": 2 * rate}
    yield {"length": min(2 * base.length, LONGEST)}
    yield {"model.layers": model.layers + 1}
    yield {"model.dropout": near[1]}
    yield PRE
    yield {"optim.learning_rate": rate / 2}
    yield {"model.name": "hstu"}
    yield {"length": max(base.length // 2, 8)}
    yield {"history": "windows", "overlap": base.length // 2}
    yield {"model.embedding": "projected" if getattr(model, "embedding", "shared") == "shared" else "shared"}
    yield {"model.dim": max(model.dim // 2, 8)}
    yield {"model.layers": max(model.layers - 1, 1)}
    yield {"positions": "relative"}
    yield {"batch": max(base.batch // 2, 1)}
    yield {"model.score": "cosine"}
    yield SAMPLED
    yield {"model.name": "bert4rec"}


def _drawn(single: list[Changes], seed: int) -> Iterator[Changes]:
    """Yields random combinations of two or three changes of different keys."""
    draw = random.Random(seed)
    for _ in range(DRAWS if len(single) > 1 else 0):
        chosen = draw.sample(single, min(draw.choice([2, 3]), len(single)))
        keys = [key for changes in chosen for key in changes]
        if len(set(keys)) == len(keys):
            yield {key: value for changes in chosen for key, value in changes.items()}
