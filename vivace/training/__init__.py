"""The trainer and the objectives; knows no dataset by name and no command line."""
