"""Serves live sessions from one pipeline: knows time, queues and turns; knows no people and no networks."""
