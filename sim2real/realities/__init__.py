"""Sealed realities: data files, no code."""
