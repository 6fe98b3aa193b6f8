"""Pixels: from a photo's bytes to the pixels that modules, checks and pages see.

Belongs here: decoding, orientation, transparency, augmentation and thumbnails.
May import: photos, files.
"""
