"""What lies around the program: files, the console, figures, signals, and the errors that a person reads."""
