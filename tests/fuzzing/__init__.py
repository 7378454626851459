"""Fuzzing of every reader of what comes from outside: `python -m tests.fuzzing`, or `make fuzz`."""
