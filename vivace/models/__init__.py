"""Networks, and the adapters that map official checkpoints onto them; model files never import each other."""
