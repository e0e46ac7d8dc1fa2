"""The commands: what each of them prints and writes."""
