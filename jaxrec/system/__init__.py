"""Files, console, figures, signals and errors."""
