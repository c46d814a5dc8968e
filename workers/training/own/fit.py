"""Fit a network by Keras' own loop: seeded, stopped early, and resumed from where it stopped."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import ConfigurationError
from workers.progress import Progress
from workers.training.checkpoint import Checkpoint
from workers.training.own.augment import changed
from workers.training.own.lesson import Answers, Lesson
from workers.training.own.losses import losses
from workers.training.own.network import outputs_of
from workers.training.own.recipe import Plan

WARM = 0.05
"""Part of the steps in which the learning rate rises."""
DECAY = 1e-4
CHOSEN_ON = "val_loss"
Batch = tuple[FloatArray, Answers]


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a training ended."""

    best_epoch: int
    """From 1: the one whose weights the network has."""
    epochs: int
    loss: float
    """Of the choosing folds, after the best epoch."""


def fit(
    network: keras.Model,
    plan: Plan,
    lesson: Lesson,
    choosing: Lesson,
    checkpoint: Checkpoint,
    progress: Progress,
) -> Fitted:
    """Leave in the network the weights of the epoch after which ``choosing`` was answered best.

    ``checkpoint`` keeps the state after each epoch: the same call goes on from there, and gives
    what it would have given without the pause. Raises ConfigurationError for a loss that is no
    number, and for the state of another training.
    """
    wanted = plan.recipe.training
    keras.utils.set_random_seed(wanted.seed)
    tf.config.experimental.enable_op_determinism()
    model = keras.Model(network.inputs, dict(outputs_of(network, plan.manifest)))
    steps = -(-len(lesson.images) // wanted.batch)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps * wanted.epochs,
        warmup_target=wanted.rate,
        warmup_steps=max(1, int(steps * wanted.epochs * WARM)),
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY, clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer, loss=losses(network, plan.manifest))
    stopping = Stopping(model, wanted.epochs, wanted.patience, checkpoint)
    model.fit(
        Batches(lesson, plan, first=stopping.done * steps),
        steps_per_epoch=steps,
        initial_epoch=stopping.done,
        epochs=wanted.epochs,
        validation_data=(choosing.images, dict(choosing.answers)),
        validation_batch_size=wanted.batch,
        shuffle=False,
        callbacks=[stopping, _Telling(steps, wanted.epochs, progress)],
        verbose=0,
    )
    return stopping.fitted()


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches without end, each made of its number alone: a pause changes none of them."""

    def __init__(self, lesson: Lesson, plan: Plan, first: int = 0) -> None:
        super().__init__()
        self.lesson, self.plan, self.first = lesson, plan, first
        self.rarity = lesson.rarity
        self.pool = ThreadPoolExecutor()

    @property
    def num_batches(self) -> None:
        """There are as many as are asked for."""
        return

    def __getitem__(self, index: int) -> Batch:
        wanted = self.plan.recipe.training
        rng = np.random.default_rng([wanted.seed, self.first + index])
        chosen = rng.choice(len(self.rarity), wanted.batch, p=self.rarity)
        made = list(self.pool.map(self._changed, chosen, rng.spawn(wanted.batch)))
        answers = {kind: each[chosen] for kind, each in self.lesson.answers.items()}
        if "segmentation" in answers:
            answers["segmentation"] = np.stack([masks for _, masks in made if masks is not None])
        return np.stack([image for image, _ in made]), answers

    def _changed(self, item: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray | None]:
        masks = self.lesson.answers.get("segmentation")
        return changed(
            self.lesson.images[item],
            None if masks is None else masks[item].astype(np.float32),
            self.plan.recipe.augment,
            self.plan.scale,
            rng,
        )


class Stopping(keras.callbacks.EarlyStopping):  # type: ignore[misc]
    """Early stopping that a pause does not make forget what was best."""

    def __init__(
        self, model: keras.Model, epochs: int, patience: int, checkpoint: Checkpoint
    ) -> None:
        super().__init__(CHOSEN_ON, mode="min", patience=patience, restore_best_weights=True)
        self.epochs, self.checkpoint = epochs, checkpoint
        self.kept = [keras.Variable(each, trainable=False) for each in model.get_weights()]
        self.numbers = keras.Variable(np.zeros(4), trainable=False, dtype="float64")
        self.state = [*model.variables, *model.optimizer.variables, *self.kept, self.numbers]
        self.done = checkpoint.restore(self.state)
        """Epochs that need not be done again; all of them where it had stopped early."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Go on from what is known."""
        super().on_train_begin(logs)
        if self.done:
            self.best, self.wait, self.best_epoch, _ = self.numbers.numpy().tolist()
            self.best_weights = [each.numpy() for each in self.kept]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Judge, and keep all that a pause must not lose."""
        super().on_epoch_end(epoch, logs)
        for variable, best in zip(self.kept, self.best_weights, strict=True):
            variable.assign(best)
        self.numbers.assign([self.best, self.wait, self.best_epoch, epoch + 1])
        self.checkpoint.save(self.epochs if self.model.stop_training else epoch + 1, self.state)

    def fitted(self) -> Fitted:
        """How it ended."""
        best, _, best_epoch, epochs = self.numbers.numpy().tolist()
        if not np.isfinite(best):
            raise ConfigurationError(
                "training ended without a number for its loss: lower training.rate in the recipe, "
                "or bring the image to small values by a step of the manifest, such as z_score"
            )
        return Fitted(int(best_epoch) + 1, int(epochs), best)


class _Telling(keras.callbacks.Callback):  # type: ignore[misc]
    """How far the training is, its loss, and that of the choosing folds."""

    def __init__(self, steps: int, epochs: int, progress: Progress) -> None:
        super().__init__()
        self.steps, self.epochs, self.progress = steps, epochs, progress
        self.epoch, self.chosen = 0, ""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._tell((batch + 1) / self.steps, logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.chosen = f", choosing {(logs or {})[CHOSEN_ON]:.3f}"
        self._tell(1, logs or {})

    def _tell(self, part: float, logs: Mapping[str, Any]) -> None:
        what = f"training, epoch {self.epoch + 1} of {self.epochs}, loss {logs['loss']:.3f}"
        self.progress(what + self.chosen, (self.epoch + part) / self.epochs)
