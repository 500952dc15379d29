"""Stream state as values: dataclasses of tensors and index moves; no arithmetic of attention."""
