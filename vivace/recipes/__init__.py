"""Training runs as functions that return full typed configs; one file per system."""
