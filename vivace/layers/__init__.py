"""Network layers of the form (x, condition, state, write) -> (x, state); the same class trains and serves."""
