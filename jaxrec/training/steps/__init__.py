"""What one device does in a step: negatives, gradients and updates, of whole tables or of the touched rows only."""
