"""What the compiler must be told: masks, random bits, ranking, reductions, collectives, and what lies where."""
