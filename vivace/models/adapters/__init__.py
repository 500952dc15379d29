"""Official checkpoint names to ours and back; names and layouts only."""
