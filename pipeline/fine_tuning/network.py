"""The network that is trained: a module and a head, with an optimizer."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.fine_tuning.settings import Settings
from pipeline.head.softmax_head import Head
from pipeline.modules import consistency, engines, loading, signatures
from pipeline.modules.loading import Module
from pipeline.tensorflow_import import literal_path

_WEIGHT_DECAY = 0.01  # AdamW's, for kernels; not for biases and the scales of batch norm
_REMEDY = (
    "use a module with TensorFlow Hub's interface for fine-tuning, such as a built-in one, or set "
    "fine_tune_epochs to 0"
)


class Network:
    """A module and a head that are trained together, with AdamW.

    The module runs as it does for inference: batch norm uses its moving averages, which are better
    than the statistics of small batches, and stay as they are. If there are several GPUs, each
    trains on a part of every batch.

    Args:
        module: the module to start from.
        head: the head to start from.
        class_weights: float32 [classes], weights of the classes in the loss.
        settings: how to train.
        precision: float16 scales the loss; the context `engines.mixed_precision` does the rest.

    Raises:
        UserError: if the module cannot be trained.
    """

    def __init__(
        self,
        module: Module,
        head: Head,
        class_weights: np.ndarray,
        settings: Settings,
        precision: str,
    ) -> None:
        import keras
        import tensorflow as tf

        self.module = module
        self._labels, self._strategy = head.labels, _strategy()
        self._loaded, variables = trainable(module, self._strategy)
        call = loading.bind(module, self._loaded)
        count = max(1, round(len(variables) * settings.fine_tune_percentage / 100))
        with self._strategy.scope():
            weights, bias = tf.Variable(head.weights), tf.Variable(head.bias)
            self.variables = [*variables[-count:], weights, bias]
            self.optimizer: Any = keras.optimizers.AdamW(weight_decay=_WEIGHT_DECAY)
            if precision == engines.FLOAT16:
                self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            inner.exclude_from_weight_decay([v for v in self.variables if v.shape.rank < 2])
            self.optimizer.build(self.variables)
        classes = len(head.labels)
        smoothing = settings.fine_tune_label_smoothing
        shape = [None, module.height, module.width, 3]
        pixels = tf.TensorSpec(shape, tf.float32)

        def gradients_of_part(images: Any, truth: Any, batch: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = call(images) @ weights + bias
                target = tf.one_hot(truth, classes) * (1 - smoothing) + smoothing / classes
                losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)
                loss = tf.reduce_sum(losses * tf.gather(class_weights, truth)) / batch
                scaled = self.optimizer.scale_loss(loss)
            return loss, tape.gradient(scaled, self.variables)

        @tf.function(autograph=False)
        def gradients(images: Any, truth: Any, batch: Any) -> Any:
            losses, changes = self._strategy.run(gradients_of_part, args=(images, truth, batch))
            return self._strategy.reduce("sum", losses, axis=None), changes

        @tf.function(autograph=False)
        def apply(changes: Any) -> None:
            self._strategy.run(self.optimizer.apply, args=(changes, self.variables))

        vectors = tf.function(call, input_signature=[pixels], autograph=False)
        self._gradients, self._apply, self._vectors = gradients, apply, vectors

    def loss(self, images: np.ndarray, truth: np.ndarray) -> float:
        """Compute the loss and its gradients on a batch, and change nothing."""
        return self._loss_and_gradients(images, truth)[0]

    def train(self, images: np.ndarray, truth: np.ndarray, rate: float) -> float:
        """Train on a batch; return its loss. Nothing changes if the loss is not finite.

        Args:
            images: float32 [n, height, width, 3] in [0, 1].
            truth: int64 [n], the classes.
            rate: the learning rate.
        """
        loss, changes = self._loss_and_gradients(images, truth)
        if np.isfinite(loss):
            self.optimizer.learning_rate.assign(rate)
            self._apply(changes)
        return loss

    def _loss_and_gradients(self, images: np.ndarray, truth: np.ndarray) -> tuple[float, Any]:
        """Return the loss of a batch, and the gradients of each part of it."""
        import tensorflow as tf

        count = self._strategy.num_replicas_in_sync

        def parts(array: np.ndarray) -> Any:
            split = np.array_split(array, count)
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(split[context.replica_id_in_sync_group])
            )

        batch = tf.constant(len(truth), tf.float32)
        loss, changes = self._gradients(parts(images), parts(truth), batch)
        return float(loss), changes

    def vectors(self, images: np.ndarray) -> np.ndarray:
        """Return vectors, float32 [n, features], of images, float32 [n, height, width, 3]."""
        vectors: np.ndarray = self._vectors(images).numpy()
        return vectors

    def head(self) -> Head:
        """Return the head."""
        weights, bias = (variable.numpy() for variable in self.variables[-2:])
        return Head(self._labels, weights, bias)

    def weights(self) -> list[np.ndarray]:
        """Return the values of `variables`."""
        return [variable.numpy() for variable in self.variables]

    def state(self) -> list[np.ndarray]:
        """Return the values of `variables` and of the optimizer."""
        return [*self.weights(), *(np.asarray(v) for v in self.optimizer.variables)]

    def assign(self, values: list[np.ndarray]) -> None:
        """Set what `weights` or `state` returned."""
        for variable, value in zip([*self.variables, *self.optimizer.variables], values):  # noqa: B905 (weights are shorter)
            variable.assign(value)

    def save(self, directory: Path) -> None:
        """Write the module as a SavedModel with the functions of the one that it was made from."""
        import tensorflow as tf

        shutil.copytree(self.module.directory, directory, copy_function=shutil.copyfile)
        (directory / "fingerprint.pb").unlink(missing_ok=True)  # of the other variables
        shutil.rmtree(directory / "variables")
        prefix = literal_path(directory) + "/variables/variables"
        tf.train.Checkpoint(self._loaded).write(prefix)


def _strategy() -> Any:
    """Return how a step is distributed: over all GPUs, if there are several."""
    import tensorflow as tf

    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def trainable(module: Module, strategy: Any = None) -> tuple[Any, list[Any]]:
    """Load a module for training; return it, and the variables that its vectors depend on.

    Args:
        module: the module.
        strategy: the `tf.distribute.Strategy` that will train it; by default that of one device.

    Raises:
        UserError: if there are none.
    """
    import tensorflow as tf

    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        loaded = signatures.load(Path(module.directory))
    variables = list(getattr(loaded, "trainable_variables", ()))
    where = f"tfhub_module: {module.handle} cannot be fine-tuned:"
    if (Path(module.directory) / "tfhub_module.pb").is_file():
        raise UserError(f"{where} it is in the TensorFlow 1 Hub format; {_REMEDY}")
    if not variables:
        raise UserError(f"{where} it has no trainable_variables; {_REMEDY}")
    images = consistency.images(module.height, module.width, 2)

    def differentiate() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(loading.bind(module, loaded)(images))
        return tape.gradient(total, variables)

    try:
        gradients = tf.function(lambda: strategy.run(differentiate), autograph=False)()
    except (LookupError, ValueError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise UserError(f"{where} it has no gradients ({reason}); {_REMEDY}") from None
    used = [v for v, g in zip(variables, gradients, strict=True) if g is not None]
    if not used:
        raise UserError(f"{where} its vectors have no gradients; {_REMEDY}")
    return loaded, used
