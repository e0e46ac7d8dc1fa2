"""What a table has and nobody reads, though it says when events were."""
