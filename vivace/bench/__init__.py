"""Timed benchmarks and facts about the machine they ran on; part of the package, so they run from a wheel."""
