"""Acting on findings: the review page, what to label next, and moving files.

Belongs here: what helps people to decide about photos, and carries out what they decided.
May import: the packages down to `evaluation`.
"""
