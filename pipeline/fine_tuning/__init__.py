"""Fine-tuning: training the module itself, together with a head, on the user's photos.

It starts from the head that was trained on the module's vectors, and returns another module, or
says that the module as it was is no worse.
"""
