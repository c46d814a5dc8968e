"""Class activation maps of several methods, with prediction and features, in one compiled call."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node.domain.arrays import FloatArray
from dicom_node.domain.errors import UnsupportedModel
from explain import weightings
from explain.explainer import Attribution, Inputs
from explain.layers import (
    PLANE,
    Place,
    deepening,
    deepest,
    named,
    read_by,
    refuse_unless_averaged,
)
from explain.network import Own, above_zero, flat, functional, image_of, outputs, scores, specs
from explain.projection import Grid
from explain.receptive import grid_of
from explain.tap import Taps, mean_of_cells
from explain.weightings import Weighting

WEIGHTINGS: Mapping[str, Weighting] = {
    "cam": weightings.gradcam,  # the same, where the gradient is the head's own weights
    "gradcam": weightings.gradcam,
    "gradcam++": weightings.gradcam_plus_plus,
    "hirescam": weightings.hirescam,
    "layercam": weightings.layercam,
}


class GradCam:
    """Grad-CAM, or a relative of it, of one head of one network.

    ``network``'s outputs are logits, linear: under a saturated sigmoid the gradient, and with it
    the map, would vanish. ``head`` is the output that is explained, of those in order. ``layer`` is
    found by itself (``place_of``), or named. ``depths`` finer layers before it join in the map
    (LayerCAM). ``at_once`` images are in memory at a time. ``own``: of a head with pixels.

    Raises UnsupportedModel, here and not at the first study, for what no map can be made of.
    """

    one_pass = True

    def __init__(
        self,
        network: keras.Model,
        layer: str | None = None,
        *,
        weighting: str = "gradcam",
        head: int = 0,
        depths: int = 1,
        at_once: int = 512,
        own: Own = above_zero,
    ) -> None:
        self._network = functional(network)
        self._head = head
        self._own = own
        self._weighting = WEIGHTINGS[weighting]
        self._places = deepening(place_of(self._network, layer, head), depths)
        self._compiled: dict[tuple[tuple[int, ...], bool], Any] = {}
        self._onto = _onto_finest(self._network, self._places)
        self._grids: dict[tuple[tuple[int, ...], tuple[int, ...]], Grid] = {}
        self.at_once = at_once
        self.method: Code = codes.DCM.GradientWeightedClassActivation
        if weighting == "cam":
            refuse_unless_averaged(self._network, self._places[0], head)
            self.method = codes.DCM.ClassActivation
        self.layer = ", ".join(place.name for place in self._places)
        self.traces = 0
        """How often the network was compiled: once for each set of targets."""

    @property
    def flat(self) -> bool:
        """Whether a layer has cells, but no rows and columns of them: tokens, views."""
        return any(0 < len(place.shape) < PLANE for place in self._places)

    def prepare(self, targets: Sequence[int]) -> None:
        """Compile for these targets now. Raises UnsupportedModel where no map can be made."""
        if specs(self._network):
            self._for(tuple(targets), False).get_concrete_function()

    def explain(
        self, inputs: Inputs, targets: Sequence[int], where: FloatArray | None = None
    ) -> Attribution:
        """Maps of the targets, and all that the network says, of one pass; see ``Explainer``."""
        arrays = flat(inputs) if where is None else [*flat(inputs), np.asarray(where, np.float32)]
        run = self._for(tuple(targets), where is not None)
        parts = [tf.nest.map_structure(np.asarray, run(*part)) for part in self._parts(arrays)]
        said, (signed, features) = _joined([p[0] for p in parts]), _joined([p[1:] for p in parts])
        return Attribution(
            logits=said[self._head],
            signed=signed,
            grid=self._grid(arrays[0].shape, signed.shape),
            features=features,
            outputs=said,
        )

    def _grid(self, inputs: tuple[int, ...], maps: tuple[int, ...]) -> Grid | None:
        """The cells on the input's pixels; none where either has other axes than a plane's."""
        if len(inputs) != PLANE or len(maps) != PLANE:
            return None
        image, cells = inputs[1:3], maps[2:4]
        if (image, cells) not in self._grids:
            self._grids[image, cells] = grid_of(self._network, self._places[-1], image, cells)
        return self._grids[image, cells]

    def _parts(self, arrays: Sequence[FloatArray]) -> Iterator[list[FloatArray]]:
        for start in range(0, len(arrays[0]), self.at_once):
            yield [each[start : start + self.at_once] for each in arrays]

    def _for(self, targets: tuple[int, ...], placed: bool) -> Any:
        if (targets, placed) not in self._compiled:
            self._compiled[targets, placed] = tf.function(
                lambda *tensors: self._run(tensors, targets, placed),
                input_signature=self._signature(len(targets), placed),
                autograph=False,
                reduce_retracing=True,
            )
        return self._compiled[targets, placed]

    def _signature(self, targets: int, placed: bool) -> list[tf.TensorSpec] | None:
        inputs = specs(self._network)
        if inputs is None or not placed:
            return inputs
        cells = self._network.outputs[self._head].shape[1:-1]
        return [*inputs, tf.TensorSpec((None, targets, *cells), tf.float32)]

    def _run(
        self, tensors: Sequence[tf.Tensor], targets: tuple[int, ...], placed: bool
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        self.traces += 1  # Python runs here while it compiles, and not when it is called
        inputs, where = (tensors[:-1], tensors[-1]) if placed else (tensors, None)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            taps = Taps(tape, self._places)
            with taps.open():
                said = outputs(self._network, inputs)
            chosen = self._chosen(said[self._head], targets, where)
        activations = taps.activations()
        maps = [self._map(activations, tape.gradient(score, activations)) for score in chosen]
        features = mean_of_cells(activations[0])
        return [tf.cast(each, tf.float32) for each in said], tf.stack(maps, 1), features

    def _chosen(
        self, logits: tf.Tensor, targets: Sequence[int], where: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """(batch,) of each target."""
        if where is None:
            of_all = scores(logits, own=self._own)
            return [of_all[:, target] for target in targets]
        return [scores(logits, where[:, place])[:, target] for place, target in enumerate(targets)]

    def _map(self, activations: list[tf.Tensor], gradients: list[tf.Tensor]) -> tf.Tensor:
        for place, gradient in zip(self._places, gradients, strict=True):
            if gradient is None:
                raise UnsupportedModel(f"no logit of the head depends on layer {place.name!r}")
        pairs = zip(activations, gradients, strict=True)
        maps = [self._weighting(tf.cast(a, tf.float32), tf.cast(g, tf.float32)) for a, g in pairs]
        return weightings.combined(maps, self._onto) if self._onto else maps[0]


def place_of(network: keras.Model, layer: str | None, head: int) -> Place:
    """The layer that is named, or else the one that the head reads; see ``layers.deepest`` of one
    with pixels. Raises UnsupportedModel.
    """
    if layer is not None:
        return named(network, layer)
    if not getattr(network, "outputs", None):
        raise UnsupportedModel(
            "a network without a graph of its layers does not tell which of them its head reads: "
            "name it as explanation.layer"
        )
    said = network.outputs[head]
    return deepest(network, said) if len(said.shape) >= PLANE else read_by(said)


def _onto_finest(network: keras.Model, places: Sequence[Place]) -> list[list[FloatArray]]:
    """How the cells of each depth lie on those of the finest; nothing for one depth."""
    if len(places) == 1:
        return []
    image = tuple(network.inputs[image_of(network.inputs)].shape[1:3])
    cells = [tuple(int(size or 0) for size in place.shape[1:3]) for place in places]
    pairs = zip(places, cells, strict=True)
    grids = [grid_of(network, place, image, each) for place, each in pairs]
    return [grid.onto(grids[-1]) for grid in grids]


def _joined(parts: Sequence[Sequence[FloatArray]]) -> tuple[FloatArray, ...]:
    """Each array of all parts of a batch."""
    return tuple(
        each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*parts, strict=True)
    )
