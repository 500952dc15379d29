"""Several processes that work as one: what they share and how they agree."""
