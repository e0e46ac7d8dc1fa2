"""Peers of the speed benchmark: each driven through its own code, in an environment of its own, without jaxrec."""
