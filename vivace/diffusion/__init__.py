"""Flow matching and sampling as functions of a callable; knows no model."""
