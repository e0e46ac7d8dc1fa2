"""The model that a configuration asks for, over a catalogue."""

from jaxrec.batches import context
from jaxrec.config.keys import Config
from jaxrec.data.interactions import Catalogue
from jaxrec.models import entry
from jaxrec.models.context import with_context
from jaxrec.models.model import Model


def model_for(config: Config, catalogue: Catalogue, users: int) -> Model:
    """The model of a configuration.

    Args:
        catalogue: its items.
        users: of the training; few models have vectors of them.
    """
    model = entry.build(config, len(catalogue.ids), users)
    if kinds := context.named(config.context):
        model = with_context(model, {kind: context.KINDS[kind].size for kind in kinds}, config.model.dim)
    return model
