"""Training: losses, negatives, optimisers, the training step, the loop around it, checkpoints and workdirs."""
