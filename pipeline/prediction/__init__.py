"""Prediction with an exported model: for one photo, for many, and on a page.

Belongs here: code that uses a finished model and trains nothing.
May import: all other packages.
"""
