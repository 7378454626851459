"""What is simulated: any Gymnasium task as a vector environment, MuJoCo's batched.

May import: core.
"""
