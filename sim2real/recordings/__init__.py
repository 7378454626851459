"""Recorded motion of robots: formats, columns, units, checks.

May import: core, envs, agents.untrusted, transfer.replaying.
"""
