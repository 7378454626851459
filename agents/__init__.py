"""What learns: agents built from settings, trained environments, evaluation, films.

May import: core, envs.
"""
