"""The data set: find, inspect, split and decode photos, on disk, in tar files or object stores.

Belongs here: everything up to the manifest, and the way from a photo's bytes to pixels.
May import: files.
"""
