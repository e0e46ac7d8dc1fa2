"""A trained workdir as an HTTP service, and a page to look at it."""
