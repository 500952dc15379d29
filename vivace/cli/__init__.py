"""The command line: one module per command family; arguments, messages and exit codes, no mathematics."""
