"""What each command prints and writes."""
