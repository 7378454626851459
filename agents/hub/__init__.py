"""Repositories of policies, on the Hugging Face hub or in a folder, taken at one commit and as data.

May import: core.
"""
