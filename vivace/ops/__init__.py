"""Pure functions on tensors; each has a naive definition that the fast forms are tested against."""
