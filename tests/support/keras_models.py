"""Small Keras models, and weights in the format of Keras's servers."""

from pathlib import Path
from typing import Any

from pipeline.modules import keras_export


def network(name: str, size: int) -> Any:
    """Build a Keras application without its classifier, with random weights."""
    application = getattr(keras_export.import_keras().applications, name)
    return application(include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg")


def save_weights(model: Any, path: Path) -> Path:
    """Save weights as in the files that Keras downloads, which it does not write any more."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def features() -> list[Any]:
    """Return layers from pixels in [0, 255] to 6 features."""
    layers = keras_export.import_keras().layers
    return [
        layers.Rescaling(1 / 255, name="scale"),
        layers.Conv2D(6, 3, strides=2, activation="silu", name="convolution"),
        layers.BatchNormalization(name="norm"),
        layers.GlobalAveragePooling2D(name="pool"),
    ]


def classifier(size: int | None = 16) -> Any:
    """Build a model that sorts photos with pixels in [0, 255] into 3 classes."""
    keras = keras_export.import_keras()
    layers = keras.layers
    head = [layers.Dense(5, name="hidden"), layers.Dense(3, activation="softmax", name="classes")]
    return keras.Sequential([keras.Input((size, size, 3)), *features(), *head])
