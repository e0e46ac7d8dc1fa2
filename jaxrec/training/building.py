"""Builds the model that a configuration asks for, over a catalogue, and loads the data that it names."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jaxrec.batches import context
from jaxrec.config.keys import Config
from jaxrec.data import sources
from jaxrec.data.attributes import features, user_columns
from jaxrec.data.interactions import Catalogue, Interactions
from jaxrec.data.splits import Split, training_counts
from jaxrec.models import entry
from jaxrec.models.baskets import with_baskets
from jaxrec.models.context import with_context
from jaxrec.models.features import widened, with_features
from jaxrec.models.model import Model
from jaxrec.system.errors import UserError


def model_for(
    config: Config, catalogue: Catalogue, users: int, types: int = 0, columns: Sequence[user_columns.Column] = ()
) -> Model:
    """Returns the model of a configuration.

    Args:
        config: Config.
        catalogue: the items; with their training counts if the configuration has features.
        users: number of users of the training; few models have vectors for them.
        types: number of types of the training's events.
        columns: the columns of its users that the model is shown.
    """
    model = entry.build(config, len(catalogue.ids), users)
    model = with_baskets(model) if config.baskets else model
    if kinds := [kind for kind in context.kinds_of(config) if kind != context.BASKET]:
        own = {context.USER + column.name: column.size for column in columns}
        sizes = {kind: context.kind_of(kind).size or own.get(kind, types) for kind in kinds if kind != context.MOMENT}
        model = with_context(model, sizes, config.model.dim, context.MOMENT in kinds, config.start_prob > 0)
    if not config.features:
        return model
    if catalogue.counts is None:
        raise UserError("config.features needs the number of training events of each item, which this catalogue lacks")
    found = features.build(catalogue, features.parse(config.features))
    own = not config.features_only
    return with_features(
        model, found.values, found.vectors, catalogue.counts > 0, len(found.names), own, config.cold_bonus
    )


def model_with(config: Config, model: Model, catalogue: Catalogue) -> Model:
    """Returns a trained model over a larger catalogue, as `newcomers.joined` returns it: see `features.widened`.

    Raises:
        UserError: it was trained without features.
    """
    if not config.features:
        raise UserError(
            "items: new ones are described by their features, and this training has none: train with config.features"
        )
    found = features.build(catalogue, features.parse(config.features))
    return widened(model, found.values, found.vectors)


def model_of(config: Config, split: Split) -> Model:
    """Returns the model of a configuration, for the data that a split trains on."""
    catalogue = split.interactions.catalogue
    counted = catalogue.counted(training_counts(split)) if config.features else catalogue
    return _over(config, counted, split.interactions, split.interactions)


def model_later(config: Config, trained: Interactions, catalogue: Catalogue, split: Split) -> tuple[Model, Split]:
    """Returns the model of a training, to answer the questions of a later split, and that split as the model sees it.

    Args:
        config: Config.
        trained: the interactions of the training, with its users.
        catalogue: the catalogue of the training, with the number of training events of each item.
        split: the split with the questions; its items are those of the training.
    """
    columns = user_columns.chosen(trained, config.user_features).user_columns
    known = split.interactions.user_columns
    if columns and known:
        known = known._replace(chosen=columns.chosen)
        split = split._replace(interactions=replace(split.interactions, user_columns=known))
    return _over(config, catalogue, trained, split.interactions), split


def _over(config, catalogue, trained, asked):
    types, known = trained.types, asked.user_columns
    columns = known.chosen if known else ()
    return model_for(config, catalogue, len(trained.users), len(types.names) if types else 0, columns)


def data_of(config: Config, workdir: Path | str | None) -> Interactions:
    """Loads the interactions that a training was made with, from where they were then.

    Raises:
        UserError: they are no longer there.
    """
    if sources.missing(config.dataset):
        name = "this training" if workdir is None else Path(workdir).name
        said = f"the data of {name}, {config.dataset}, are gone, or not on this machine: name them"
        if not Path(config.dataset).is_absolute():
            said = f"the data of {name} were {config.dataset} in memory: give them again"
        raise UserError(f"{said} with --dataset, or from Python as data=")
    return sources.load(config.dataset)
