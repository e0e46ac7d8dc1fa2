"""What a training leaves: workdirs and their checkpoints, in a folder or an object store."""
