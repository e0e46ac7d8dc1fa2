"""Peers of the speed benchmark: each runs its own code, in an environment of its own, without jaxrec."""
