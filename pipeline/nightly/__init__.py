"""Night after night: which model is current, the gate before it, the history, and pruning.

Belongs here: everything that looks at more than one run.
May import: all packages but prediction.
"""
