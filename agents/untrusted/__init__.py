"""Files from anybody, read within limits and as data: zip archives, pickles, what ``torch.save`` wrote.

May import: core.
"""
