"""The HTTP service of a trained workdir, and its web page."""
