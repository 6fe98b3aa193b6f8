"""Data checks: one kind of problem with the photos per file, all of them listed in `checks`.

Belongs here: functions from a `CheckContext` to `Finding`s.
May import: what `evaluation` may.
"""
