"""ModelManifest: what ``manifest.toml`` of a model bundle says, validated.

The file of a bundle that says what the model reads, does and needs (see ``catalog``). Every
error names the key and what would be right; unknown keys are errors, for a misspelt threshold must
not be ignored.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from dicom_node.domain.card import Card
from dicom_node.domain.outputs import (
    Classification,
    Detection,
    Explained,
    Image,
    Output,
    Regression,
    Segmentation,
)
from dicom_node.domain.outputs import Segment as Segment
from dicom_node.domain.outputs import Target as Target
from dicom_node.domain.part import Part
from dicom_node.domain.rule import TagRule
from dicom_node.domain.steps import Step, channels, moves_slices
from dicom_node.domain.trust import ExplanationCheck, VerdictPlan

SCHEMA_VERSION = 1
PLANE = 3
DRAWN_ON: Mapping[str, tuple[str, ...]] = {
    "segmentation": ("slice", "volume"),
    "image": ("slice", "volume"),
    "detection": ("slice",),
}
"""Units of which a network says in which image it drew, by the kind of output."""


Orientation = Literal["AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE"]


class SeriesSelection(Part):
    """Which series of a study the model reads."""

    modality: tuple[str, ...] = Field(min_length=1)
    sop_classes: tuple[str, ...] = ()
    """Keywords such as ``CTImageStorage``; empty: any image of the modality."""
    orientation: tuple[Orientation, ...] = ()
    """Empty: any."""
    min_images: int = Field(default=1, ge=1)
    max_images: int = Field(default=5000, ge=1)
    rules: tuple[TagRule, ...] = ()
    pick: Literal["most_images", "all"] = "most_images"
    """Of several series that fit, which one is read; all of them where a view is a series."""


class View(Part):
    """One input of a network that reads several views of one breast or joint at once."""

    name: str
    """Of the network's input."""
    rules: tuple[TagRule, ...] = Field(min_length=1)
    """What the header of an image of this view says."""


class ModelInput(Part):
    """What the network takes."""

    unit: Literal["slice", "volume", "sequence", "views"] = "slice"
    """What it answers for: each image; overlapping blocks of a volume; the whole series, of which
    it reads so many slices; or the views of one side (CC and MLO), each an input of its own."""
    shape: tuple[int, ...]
    """(rows, columns, channels); (slices, rows, columns, channels) of a volume or sequence."""
    batch: int = Field(default=8, ge=1, le=512)
    views: tuple[View, ...] = ()

    @property
    def plane(self) -> tuple[int, int, int]:
        """(rows, columns, channels) of one image."""
        rows, columns, channels = self.shape[-PLANE:]
        return rows, columns, channels

    @model_validator(mode="after")
    def _shape_of_the_unit(self) -> Self:
        deep = self.unit in ("volume", "sequence")
        if len(self.shape) != PLANE + deep:
            raise ValueError(
                f"a {self.unit} has the shape "
                f"({'slices, ' if deep else ''}rows, columns, channels), not {self.shape}"
            )
        if (self.unit == "views") != bool(self.views):
            raise ValueError("views are named by the unit views, and by no other")
        return self


class RegionPlan(Part):
    """Where a model of features reads them: the largest connected part between two values."""

    low: float
    """Of the image after the steps of preprocess."""
    high: float
    extractor: Literal["scikit-image", "pyradiomics"] = "scikit-image"
    """What computed the features that the estimator learnt: the numbers of another one differ."""
    bin_width: float = Field(default=25.0, gt=0)
    """Of the grey levels of pyradiomics (its ``binWidth``), in units of the image after preprocess;
    scikit-image has 16 levels over the range of the region."""


class ExplanationPlan(Part):
    """How the model is explained."""

    method: Literal[
        "cam",
        "gradcam",
        "gradcam++",
        "hirescam",
        "layercam",
        "scorecam",
        "scorecam-pruned",
        "saliency",
        "smoothgrad",
        "integrated-gradients",
        "occlusion",
        "rise",
        "shapley",
        "none",
    ]
    """From scorecam on, each map costs many passes of the network: key slices only."""
    layer: str | None = None
    """The layer whose activations are weighted; found by itself: the one that the head reads, or,
    of outlines, the last on the coarsest grid, for a map of what follows says the outline again."""
    depths: int = Field(default=1, ge=1, le=5)
    """The layer, and finer ones before it, that make the map together."""
    full_scale: float = Field(default=1.0, gt=0)
    """Upper end of the colour bar, in logit units: one scale for all maps of the bundle."""
    region_level: float = Field(default=0.5, gt=0, lt=1)
    """The region that a map names: where it exceeds this part of its peak."""
    verdict: VerdictPlan | None = None
    """How the map of a case is judged; fitted at packaging."""
    check: ExplanationCheck | None = None
    """How the maps of all test cases did; where they failed, none is shown as evidence."""
    measure_passes: int = Field(default=135, ge=0, le=10_000)
    """Time budget for costly numbers about the map of one answer, in passes of one item.

    By default it allows all of them. Those of a study together cost no more than those of two
    answers, or than twice its prediction where that is more.
    """

    @model_validator(mode="after")
    def _scale_of_maps(self) -> Self:
        if "full_scale" not in self.model_fields_set and self.method not in ("none", "shapley"):
            raise ValueError("full_scale: say where the colour bar of the maps ends, in logits")
        return self


class Resources(Part):
    """What one study needs on two processor cores; ``dicom-worker check`` measures it."""

    memory_gib: float = Field(gt=0)
    """Of the whole worker, at its peak."""
    seconds: float = Field(gt=0)
    """From the files to the results."""


class ModelManifest(Part):
    """The whole of ``manifest.toml``."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,40}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    title: str = Field(max_length=64)
    manufacturer: str = Field(max_length=64)
    content_qualification: Literal["RESEARCH", "SERVICE", "PRODUCT"] = "RESEARCH"
    task: Literal["classification", "regression", "detection", "segmentation", "image"] | None = (
        None
    )
    """What the model is for, where it has several outputs: the kind of the main one."""
    selection: SeriesSelection
    input: ModelInput
    preprocess: tuple[Step, ...]
    outputs: tuple[Output, ...] = Field(min_length=1)
    region: RegionPlan | None = None
    """For models of features, and only for them."""
    explanation: ExplanationPlan
    resources: Resources | None = None
    card: Card

    @property
    def id(self) -> str:
        """``name@version``, as the settings, the ledger and the pages write it."""
        return f"{self.name}@{self.version}"

    @property
    def classification(self) -> Classification | None:
        """The classification head, if there is one."""
        return next((o for o in self.outputs if isinstance(o, Classification)), None)

    @property
    def segmentation(self) -> Segmentation | None:
        """The segmentation head, if there is one."""
        return next((o for o in self.outputs if isinstance(o, Segmentation)), None)

    @model_validator(mode="after")
    def _steps_fit_the_input(self) -> Self:
        given, wanted = channels(self.preprocess), self.input.shape[-1]
        if wanted != given and (given, wanted) != (1, 3):
            raise ValueError(
                f"input.shape ends in {wanted} channels, and the steps of preprocess in {given}: "
                "the image (once, or three times where there is no feature), and one a feature"
            )
        moving = [step.step for step in self.preprocess if moves_slices(step)]
        if moving and self.input.unit in ("slice", "views"):
            raise ValueError(
                f"preprocess: {moving[0]} moves slices, which a {self.input.unit} is answered for "
                "by itself: leave its slices or slice_mm out, or let input.unit be volume"
            )
        return self

    @model_validator(mode="after")
    def _what_is_drawn_is_of_one_image(self) -> Self:
        unit = self.input.unit
        drawn = [o.kind for o in self.outputs if unit not in DRAWN_ON.get(o.kind, (unit,))]
        if drawn:
            raise ValueError(
                f"outputs: a {drawn[0]} is drawn on single images, and a {unit} has one answer for "
                f"several: let input.unit be {' or '.join(DRAWN_ON[drawn[0]])}"
            )
        return self

    @property
    def detection(self) -> Detection | None:
        """The detection heads, if there are some."""
        return next((o for o in self.outputs if isinstance(o, Detection)), None)

    @property
    def regression(self) -> Regression | None:
        """The numbers that it measures, if there are some."""
        return next((o for o in self.outputs if isinstance(o, Regression)), None)

    @property
    def image(self) -> Image | None:
        """The image that it makes, if it makes one."""
        return next((o for o in self.outputs if isinstance(o, Image)), None)

    @property
    def explained(self) -> Explained | None:
        """The output whose answers are explained: of a model that only outlines, its segments."""
        if self.explanation.method == "none":
            return None
        asked = (o for o in self.outputs if isinstance(o, Classification | Detection | Regression))
        return next(asked, self.segmentation)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the model is asked for with yes or no."""
        plan = self.classification or self.detection
        return plan.targets if plan else ()

    @model_validator(mode="after")
    def _one_output_of_a_kind(self) -> Self:
        kinds = [output.kind for output in self.outputs]
        if len(set(kinds)) < len(kinds):
            raise ValueError("two outputs are of one kind: put what they give into one of them")
        if self.task is not None and self.task not in kinds:
            raise ValueError(f"task is {self.task}, and the outputs are {', '.join(kinds)}")
        return self

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        segments = {s.label for s in self.segmentation.segments} if self.segmentation else set()
        for target in self.classification.targets if self.classification else ():
            if target.located_by is not None and target.located_by not in segments:
                raise ValueError(
                    f"target {target.label!r} is located_by {target.located_by!r}, "
                    f"but the segments are {sorted(segments)}"
                )
        return self
