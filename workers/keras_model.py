"""A verified bundle -> a Keras model that is asked for logits. Here alone weights are loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import (
    CorruptBundle,
    DeviceOutOfMemory,
    UnsupportedModel,
    UnusableOutput,
)
from dicom_node.domain.findings import Share
from dicom_node.domain.manifest import ExplanationPlan, ModelManifest
from explain.calibration import probabilities
from explain.explainer import Attribution, Explainer, Inputs
from explain.footprint import LIMIT_BYTES
from explain.gradcam import GradCam, place_of
from explain.methods import explainer
from explain.network import above_zero, flat, outputs, specs
from explain.tap import Beside, beside
from workers.arrays import Arrays
from workers.bundle import reference_of, refuse_code
from workers.heads import heads
from workers.model import Output
from workers.weights import refuse_larger, refuse_weights


class KerasModel:
    """Serves one Keras network; see the protocol ``Model``.

    Heads that give logits may end in linear, sigmoid or softmax; see ``workers.heads``.
    """

    def __init__(
        self, manifest: ModelManifest, network: keras.Model, reference: Arrays | None = None
    ) -> None:
        self.manifest = manifest
        self.reference = reference or {}
        inputs = inputs_of(manifest, network)
        refuse_memory(manifest, network)
        self._heads = heads(network, manifest)
        logits = keras.Model(
            inputs if len(inputs) > 1 else inputs[0], [h.values for h in self._heads.values()]
        )
        self._logits = logits
        plan = manifest.explanation
        self._explainer = self.explained_by(plan) if manifest.explained else None
        one_pass = self._explainer is not None and self._explainer.one_pass
        self._beside = None if one_pass else self._tapped()
        self._call = tf.function(
            lambda *batch: [tf.cast(values, tf.float32) for values in outputs(logits, batch)],
            input_signature=specs(logits),
        )

    @classmethod
    def load(cls, bundle: BundleFolder) -> Self:
        """Load the weights of a verified bundle in safe mode, without custom objects."""
        network = read_network(bundle.path / WEIGHTS, f"{WEIGHTS} of {bundle.id}")
        return cls(bundle.manifest, network, reference_of(bundle))

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries and the device that run it."""
        gpus = tf.config.list_physical_devices("GPU")
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "device": f"{len(gpus)} GPU" if gpus else "CPU",
        }

    def predict(self, batch: Inputs) -> Output:
        """Logits and maps of one compiled call; see ``Model``."""
        try:
            attribution, features, values = self._run(batch)
        except tf.errors.ResourceExhaustedError as error:
            raise DeviceOutOfMemory(
                f"{self.manifest.id} needs more memory than is free for "
                f"{self.manifest.input.batch} inputs at once: lower input.batch of its manifest"
            ) from error
        except tf.errors.InvalidArgumentError as error:
            raise UnsupportedModel(
                f"the network of {self.manifest.id} does not take {len(flat(batch)[0])} inputs at "
                "once: save it with a batch of any size (keras.Input without batch_shape)"
            ) from error
        if not all(np.isfinite(output).all() for output in values):
            raise UnusableOutput(
                f"{self.manifest.id} answered with numbers that are not finite: try its steps of "
                "preprocess and its weights on these images with dicom-worker check --study"
            )
        return Output(dict(zip(self._heads, values, strict=True)), attribution, features)

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated by each target's temperature (Guo 2017), then by its curve."""
        plan = self.manifest.classification or self.manifest.detection
        if plan is None:
            return logits
        return probabilities(plan.targets, logits, self._heads[plan.kind].probabilities)

    def mask_probabilities(self, mask_logits: FloatArray) -> FloatArray:
        """0 to 1, of the shape of the mask logits."""
        return self._heads["segmentation"].probabilities(mask_logits)

    def shares(self, item: FloatArray, target: int) -> tuple[Share, ...]:
        """A network reads pixels: a map says what they added."""
        return ()

    def explainer(self) -> Explainer | None:
        """The manifest's method, on the head that ``ModelManifest.explained`` names."""
        return self._explainer

    def _run(
        self, batch: Inputs
    ) -> tuple[Attribution | None, FloatArray | None, Sequence[FloatArray]]:
        if self._explainer is not None and self._explainer.one_pass:
            attribution = self._explainer.explain(batch, self._targets)
            return attribution, attribution.features, attribution.outputs
        if self._beside is not None:
            said, features = self._beside(batch)
            return None, features, said
        return None, None, [values.numpy() for values in self._call(*map(tf.constant, flat(batch)))]

    def _tapped(self) -> Beside | None:
        """Answers with features, where no method gives them: of the layer that the head reads.

        None of a network whose head reads no layer with cells, or several.
        """
        plan = self.manifest.explained
        head = list(self._heads).index(plan.kind) if plan else 0
        try:
            place = place_of(self._logits, self.manifest.explanation.layer, head)
            return beside(self._logits, place)
        except UnsupportedModel:
            return None

    def explained_by(self, plan: ExplanationPlan) -> Explainer:
        """By this method; compiled now, so that what it cannot explain is refused before any study.

        Raises UnsupportedModel.
        """
        if self.manifest.explained is None:
            raise UnsupportedModel(f"{self.manifest.id} gives no answer that could be explained")
        made = explainer(
            self._logits,
            plan,
            self._targets,
            head=list(self._heads).index(self.manifest.explained.kind),
            at_once=self.manifest.input.batch,
            limit_bytes=_limit_bytes(self.manifest),
            own=self._own,
        )
        if isinstance(made, GradCam) and made.flat:
            raise UnsupportedModel(
                f"layer {made.layer!r} of {self.manifest.id} has no rows and columns to map: name "
                "one that has as explanation.layer"
            )
        unit = self.manifest.input.unit
        if unit != "slice" and not made.one_pass:
            raise UnsupportedModel(
                f"{plan.method} explains key slices, and {self.manifest.id} answers for its "
                f"{unit} at once: explain it by gradcam"
            )
        return made

    def _own(self, logits: tf.Tensor) -> tf.Tensor:
        """Pixels at or above the operating points of their segments."""
        plan = self.manifest.segmentation
        if plan is None:
            return above_zero(logits)
        exclusive = self._heads[plan.kind].exclusive
        likely = tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)
        return likely >= [segment.threshold for segment in plan.segments]

    @property
    def _targets(self) -> Sequence[int]:
        return range(len(self.manifest.explained.labels) if self.manifest.explained else 0)


def read_network(path: Path, name: str | None = None) -> keras.Model:
    """A ``.keras`` file of stock layers, in safe mode, without custom objects.

    ``name`` is what messages call it. Raises CorruptBundle: BUNDLE_CODE, BUNDLE_SIZE,
    BUNDLE_WEIGHTS.
    """
    refuse_code(path)
    refuse_weights(path)
    refuse_larger(path)
    try:
        return keras.saving.load_model(path, custom_objects=None, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, AttributeError, ImportError) as error:
        raise CorruptBundle(
            f"{name or path.name} is not made of stock Keras layers that this version "
            f"({keras.__version__}) can load in safe mode",
            code="BUNDLE_CODE",
        ) from error
    except (tf.errors.ResourceExhaustedError, MemoryError, OverflowError) as error:
        raise CorruptBundle(
            f"{name or path.name} asks for more memory than there is: shrink it",
            code="BUNDLE_SIZE",
        ) from error


def inputs_of(manifest: ModelManifest, network: keras.Model) -> list[keras.KerasTensor]:
    """Of a network, in the order of the manifest's views, where it has several.

    Raises UnsupportedModel for others than the manifest names, whole numbers as input, and a
    network that was saved before it knew its input.
    """
    if not getattr(network, "built", True) or not hasattr(network, "inputs"):
        raise UnsupportedModel(
            f"the network of {manifest.id} does not know its input: begin it with keras.Input"
            f"({manifest.input.shape}), and save it again"
        )
    whole = [tensor.dtype for tensor in network.inputs if "float" not in tensor.dtype]
    if whole:
        raise UnsupportedModel(
            f"the network of {manifest.id} takes {whole[0]}, and the node gives it the numbers "
            "that its steps leave, with fractions, as float32: give it a keras.Input of float32"
        )
    named = {tensor.name: tensor for tensor in network.inputs}
    names = [view.name for view in manifest.input.views] or list(named)
    shapes = {name: tuple(named[name].shape[1:]) for name in names if name in named}
    if shapes != dict.fromkeys(names, manifest.input.shape) or len(names) != len(named):
        raise UnsupportedModel(
            f"the network of {manifest.id} takes {[tuple(t.shape[1:]) for t in network.inputs]} "
            f"as {sorted(named)} and its manifest says {manifest.input.shape} as {sorted(names)}: "
            "correct input.shape and input.views, or save the model with a fixed input"
        )
    return [named[name] for name in names]


def refuse_memory(manifest: ModelManifest, network: keras.Model) -> None:
    """Raise UnsupportedModel for a layer whose answers would depend on the study before."""
    layers = network._flatten_layers(include_self=False, recursive=True)
    stateful = next((each.name for each in layers if getattr(each, "stateful", False)), None)
    if stateful is not None:
        raise UnsupportedModel(
            f"layer {stateful!r} of {manifest.id} remembers what it read before, so that one "
            "patient's answer would depend on another's: save the model with stateful=False"
        )


def _limit_bytes(manifest: ModelManifest) -> float:
    """Half of what the worker may take: the rest is for libraries, weights, images and results."""
    stated = manifest.resources
    return stated.memory_gib * 2**30 / 2 if stated else LIMIT_BYTES
