"""The model that a configuration asks for, over a catalogue."""

from jaxrec.config.keys import Config
from jaxrec.data.interactions import Catalogue
from jaxrec.models import entry
from jaxrec.models.model import Model


def model_for(config: Config, catalogue: Catalogue, users: int) -> Model:
    """The model of a configuration.

    Args:
        catalogue: its items.
        users: of the training; few models have vectors of them.
    """
    return entry.build(config, len(catalogue.ids), users)
