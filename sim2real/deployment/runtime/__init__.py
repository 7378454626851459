"""What runs an exported policy on a robot; needs Python, NumPy and onnxruntime, and travels with the policy.

Files of this folder import each other by relative imports.

May import: nothing of ours.
"""
