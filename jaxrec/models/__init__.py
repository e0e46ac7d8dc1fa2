"""Models as pure functions of (params, stream), one per module, implemented with Flax Linen."""
