"""Studies that ship with warmstart, one YAML file each."""
