"""Evaluation: how good a head is on the test photos, and the page that shows it.

Belongs here: metrics, comparisons, statistics and, in `data_checks`, problems of the photos.
May import: files, photos, modules, bottlenecks, head.
"""
