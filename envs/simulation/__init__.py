"""MuJoCo itself: models, and many simulations of one of them stepped together.

May import: core.
"""
