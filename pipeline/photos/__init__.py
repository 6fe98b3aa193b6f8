"""The data set: find, inspect and split photos, on disk, in tar files or object stores.

Belongs here: everything up to the manifest.
May import: files.
"""
