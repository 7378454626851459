"""What all rooms share: errors, files, YAML, plain values, keyed draws, threads, plugins, progress.

May import: nothing of ours.
"""
