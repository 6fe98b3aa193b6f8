"""The work of the steps, from photos to a served model: functions and data classes, no Luigi.

The packages follow the data: files < photos, modules < bottlenecks < head < evaluation, export <
nightly < prediction. Each imports only those before it, which `make lint` checks. Beside them,
`errors`, `progress` and `tensorflow_import` serve all.
"""
