"""Workdirs of untrained models, which are evaluated like any other."""

from dataclasses import replace

import jax
import recommenders

from jaxrec.data import reading, splits
from jaxrec.training import assembly, setup as setups
from jaxrec.training.workdirs import checkpoint, workdir


def write_workdir(path, place, model="sasrec", **keys):
    """Writes the workdir of an untrained model, which is evaluated like any other. keys: of its configuration."""
    data = reading.read(str(place))
    config = replace(recommenders.config(model, length=8), dataset=str(place), **keys)
    split = assembly.split_of(config, data)
    path.mkdir()
    workdir.claim(
        path, config, data, str(place), data.catalogue.counted(splits.training_counts(split)), asked=split.interactions
    )
    checkpoints = checkpoint.Checkpoints(path)
    checkpoints.save(64, setups.initial(setups.setup(config, split, jax.devices()[:1])), {})
    checkpoints.close()
