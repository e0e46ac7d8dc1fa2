"""From interactions to batches: packed rows, session-parallel lanes, and what is shown and asked."""
