"""Bottlenecks: one feature vector for each photo, computed once and stored as Parquet.

Belongs here: computing, caching, writing and reading vectors.
May import: files, photos, modules.
"""
