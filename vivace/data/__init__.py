"""Video files and cameras, training clips, instruction phrases and programmatic edit pairs."""
