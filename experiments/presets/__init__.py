"""Studies that ship with warmstart, one YAML file each.

May import: nothing of ours.
"""
