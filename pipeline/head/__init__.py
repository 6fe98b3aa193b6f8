"""The head: the softmax layer that is trained on bottlenecks.

Belongs here: optimizers, the choice of L2, calibration, checkpoints, the search over heads.
May import: files, photos, modules, bottlenecks.
"""
