"""Templates of the report.

May import: nothing of ours.
"""
