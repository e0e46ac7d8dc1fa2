"""The sequential recommender for JAX."""

from jaxrec.config.registry import register as register


def load(workdir, checkpoint="best", approximate=False):
    """A trained workdir as a recommender of external ids: `jaxrec.inference.recommender.load`."""
    from jaxrec.inference.recommender import load  # jax starts here, not at the import of a name

    return load(workdir, checkpoint, approximate)
