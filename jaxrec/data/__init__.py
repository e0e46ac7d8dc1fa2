"""From raw files to batches: interactions, readers and sources, splits, the packed stream."""
