"""File formats, each of which is read as batches of the chosen columns."""
