"""Losses, negatives, optimisers, the step, the loop around it, and the folder that a training lies in."""
