"""Sealed realities: data files, no code.

May import: nothing of ours.
"""
