"""Feature-extraction modules: from a handle to a function that turns pixels into vectors.

Belongs here: resolving, fetching, inspecting, building and loading modules.
May import: pixels, photos, files.
"""
