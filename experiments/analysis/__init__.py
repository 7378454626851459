"""From curves to metrics and verdicts; plain arrays and numbers.

May import: core.
"""
