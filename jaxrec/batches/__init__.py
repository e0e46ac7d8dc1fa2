"""From interactions to batches: packed rows, session-parallel lanes, and their targets."""
