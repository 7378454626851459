"""What a trial is and what it writes: its configuration and hash, records, status, claims.

May import: core, envs, agents, transfer, sim2real.
"""
