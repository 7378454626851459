"""MuJoCo itself: models and the names of what is in them, and many simulations of one stepped together.

May import: core.
"""
