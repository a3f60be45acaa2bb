"""Pure modules: they take the time as an argument and return decisions."""
