"""Shapes, grids, configs and errors that every room shares; no tensors are computed here."""
