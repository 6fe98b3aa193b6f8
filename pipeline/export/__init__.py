"""Export: the files of a finished model, usable without this project.

Belongs here: SavedModel, frozen graph, TFLite, ONNX, their description, and parity between them.
May import: files, photos, modules, bottlenecks, head; not evaluation.
"""
