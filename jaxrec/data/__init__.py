"""Data: reads logs into Interactions, filters them, and splits them into training, validation and test."""
