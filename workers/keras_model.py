"""A verified bundle -> a Keras model that is asked for logits. Here alone weights are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit, softmax

from dicom_node.catalog import WEIGHTS, BundleFolder
from dicom_node.domain.analysis import FloatArray
from dicom_node.domain.errors import CorruptBundle, DeviceOutOfMemory, UnsupportedModel
from dicom_node.domain.manifest import ModelManifest
from explain.explainer import Attribution, Explainer
from explain.methods import explainer
from workers.bundle import refuse_code
from workers.model import Output
from workers.weights import refuse_weights


@dataclass(frozen=True, slots=True)
class Head:
    """One output of the network, before its activation."""

    logits: keras.KerasTensor
    exclusive: bool
    """Softmax: the channels share one probability; else each has its own (sigmoid)."""

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """0 to 1, of the same shape."""
        values = softmax(logits, axis=-1) if self.exclusive else expit(logits)
        return np.asarray(values, dtype=np.float32)


class KerasModel:
    """Serves one Keras network; see the protocol ``Model``.

    Heads may end in linear, sigmoid or softmax: a linear twin of the head, with the same weights,
    gives the logits, and the network as it was loaded stays as it is.
    """

    def __init__(self, manifest: ModelManifest, network: keras.Model) -> None:
        self.manifest = manifest
        _check_input(manifest, network)
        self._heads = {each.kind: linear_head(network, each.layer) for each in manifest.outputs}
        self._check_heads()
        logits = keras.Model(network.inputs[0], [head.logits for head in self._heads.values()])
        self._explainer = self._explained(logits)
        self._call = tf.function(
            lambda batch: [tf.cast(values, tf.float32) for values in logits(batch, training=False)],
            input_signature=[tf.TensorSpec((None, *manifest.input.shape), tf.float32)],
        )

    @classmethod
    def load(cls, bundle: BundleFolder) -> Self:
        """Load the weights of a verified bundle in safe mode, without custom objects."""
        refuse_code(bundle.path / WEIGHTS)
        refuse_weights(bundle.path / WEIGHTS)
        try:
            network = keras.saving.load_model(
                bundle.path / WEIGHTS, custom_objects=None, compile=False, safe_mode=True
            )
        except (ValueError, TypeError, KeyError, OSError, AttributeError, ImportError) as error:
            raise CorruptBundle(
                f"{WEIGHTS} of {bundle.id} is not made of stock Keras layers that this version "
                f"({keras.__version__}) can load in safe mode",
                code="BUNDLE_CODE",
            ) from error
        return cls(bundle.manifest, network)

    @property
    def versions(self) -> Mapping[str, str]:
        """The libraries and the device that run it."""
        gpus = tf.config.list_physical_devices("GPU")
        return {
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "device": f"{len(gpus)} GPU" if gpus else "CPU",
        }

    def predict(self, batch: FloatArray) -> Output:
        """Logits and maps of one compiled call, for float32 (batch, rows, columns, channels)."""
        try:
            attribution, values = self._run(batch)
        except tf.errors.ResourceExhaustedError as error:
            raise DeviceOutOfMemory(
                f"{self.manifest.id} needs more memory than is free for {len(batch)} slices at "
                "once: lower input.batch of its manifest"
            ) from error
        if not all(np.isfinite(output).all() for output in values):
            raise UnsupportedModel(
                f"{self.manifest.id} answered with numbers that are not finite",
                code="MODEL_OUTPUT",
            )
        outputs = dict(zip(self._heads, values, strict=True))
        return Output(
            logits=outputs.get("classification", np.zeros((len(batch), 0), np.float32)),
            mask_logits=outputs.get("segmentation", np.zeros((*batch.shape[:3], 0), np.float32)),
            attribution=attribution,
        )

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Calibrated by each target's temperature (Guo 2017)."""
        plan = self.manifest.classification
        if plan is None:
            return logits
        temperatures = np.array([target.temperature for target in plan.targets], np.float32)
        return self._heads["classification"].probabilities(logits / temperatures)

    def mask_probabilities(self, mask_logits: FloatArray) -> FloatArray:
        """0 to 1, of the shape of the mask logits."""
        head = self._heads.get("segmentation")
        return head.probabilities(mask_logits) if head else mask_logits

    def explainer(self) -> Explainer | None:
        """The manifest's method, on the logits of the classification head alone."""
        return self._explainer

    def _run(self, batch: FloatArray) -> tuple[Attribution | None, Sequence[FloatArray]]:
        if self._explainer is None or not self._explainer.one_pass:
            return None, [values.numpy() for values in self._call(tf.constant(batch, tf.float32))]
        attribution = self._explainer.explain(batch, self._targets)
        return attribution, attribution.outputs

    def _explained(self, logits: keras.Model) -> Explainer | None:
        """Compiled now, so that a model that cannot be explained is refused before any study."""
        if "classification" not in self._heads:
            return None
        return explainer(
            logits,
            self.manifest.explanation,
            self._targets,
            head=list(self._heads).index("classification"),
            at_once=self.manifest.input.batch,
        )

    @property
    def _targets(self) -> Sequence[int]:
        return range(len(getattr(self.manifest.classification, "targets", ())))

    def _check_heads(self) -> None:
        """Each output has one channel for each of the manifest's targets or segments."""
        wanted = {
            "classification": (2, len(getattr(self.manifest.classification, "targets", ()))),
            "segmentation": (4, len(getattr(self.manifest.segmentation, "segments", ()))),
        }
        for kind, head in self._heads.items():
            shape = head.logits.shape
            if (len(shape), shape[-1]) != wanted[kind]:
                raise UnsupportedModel(
                    f"the {kind} output of {self.manifest.id} has the shape {shape}, and its "
                    f"manifest names {wanted[kind][1]} of them",
                    code="MODEL_OUTPUT",
                )


def linear_head(network: keras.Model, name: str) -> Head:
    """The tensor before the activation of a layer, found without changing the network.

    Raises UnsupportedModel for a layer that is not there, and for other activations than linear,
    sigmoid and softmax.
    """
    layer = next((each for each in network.layers if each.name == name), None)
    if layer is None:
        raise UnsupportedModel(f"the model has no layer {name!r}, which its manifest names")
    if isinstance(layer, keras.layers.Softmax):
        return Head(layer.input, exclusive=True)
    activation = keras.activations.serialize(getattr(layer, "activation", None) or "linear")
    if activation not in ("linear", "sigmoid", "softmax"):
        raise UnsupportedModel(
            f"layer {name!r} ends in {activation}: a head ends in linear, sigmoid or softmax"
        )
    if activation == "linear":
        return Head(layer.output, exclusive=False)
    return Head(_before_activation(layer), exclusive=activation == "softmax")


def _before_activation(layer: keras.Layer) -> keras.KerasTensor:
    if isinstance(layer, keras.layers.Activation):
        return layer.input
    config = {**layer.get_config(), "activation": "linear", "name": f"{layer.name}_linear"}
    twin = type(layer).from_config(config)
    logits = twin(layer.input)
    twin.set_weights(layer.get_weights())
    return logits


def _check_input(manifest: ModelManifest, network: keras.Model) -> None:
    shapes = [tuple(tensor.shape[1:]) for tensor in network.inputs]
    if shapes != [manifest.input.shape]:
        raise UnsupportedModel(
            f"the network of {manifest.id} takes {shapes} and its manifest says "
            f"{manifest.input.shape}: correct input.shape, or save the model with a fixed input"
        )
