"""Recorded motion of robots: formats, columns, units, checks.

May import: core, envs, transfer.replaying.
"""
