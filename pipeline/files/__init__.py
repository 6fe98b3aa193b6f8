"""Files and folders, whatever is in them: atomic writes, locks, downloads, object stores.

Belongs here: code that would serve any project that keeps results in files.
May import: nothing else of the pipeline but `errors` and `progress`.
"""
