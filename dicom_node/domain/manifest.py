"""ModelManifest: what ``manifest.toml`` of a model bundle says, validated.

A bundle is a folder: ``manifest.toml``, ``model.keras``, ``card.md`` and ``SHA256SUMS``. Every
error names the key and what would be right; unknown keys are errors, for a misspelt threshold must
not be ignored.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydicom.sr.coding import Code

from dicom_node.domain.rule import TagRule

SCHEMA_VERSION = 1
RANK_3D = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CodedConcept(_Part):
    """A coded concept: CodeValue, CodingSchemeDesignator, CodeMeaning (PS3.3 section 8.8)."""

    value: str = Field(min_length=1, max_length=16)
    scheme: str = Field(min_length=1, max_length=16)
    meaning: str = Field(min_length=1, max_length=64)

    @property
    def code(self) -> Code:
        """The same as pydicom's named tuple."""
        return Code(self.value, self.scheme, self.meaning)


Orientation = Literal["AXIAL", "CORONAL", "SAGITTAL", "OBLIQUE"]


class SeriesSelection(_Part):
    """Which series of a study the model reads."""

    modality: tuple[str, ...] = Field(min_length=1)
    sop_classes: tuple[str, ...] = ()
    """Keywords such as ``CTImageStorage``; empty: any image of the modality."""
    orientation: tuple[Orientation, ...] = ()
    """Empty: any."""
    min_images: int = Field(default=1, ge=1)
    max_images: int = Field(default=5000, ge=1)
    rules: tuple[TagRule, ...] = ()
    pick: Literal["most_images"] = "most_images"
    """Of several series that fit, which one is read."""


class Window(_Part):
    """Clip to a window and scale it to 0..1 (PS3.3 C.11.2.1.2.1, linear exact)."""

    step: Literal["window"]
    center: float
    width: float = Field(gt=0)


class Fit(_Part):
    """Resample in plane to square pixels, then crop or pad about the centre."""

    step: Literal["fit"]
    rows: int = Field(ge=8, le=4096)
    columns: int = Field(ge=8, le=4096)
    spacing_mm: float = Field(gt=0)
    fill: float = 0.0


class Standardize(_Part):
    """Subtract the mean and divide by the deviation that training saw."""

    step: Literal["standardize"]
    mean: float
    deviation: float = Field(gt=0)


Step = Annotated[Window | Fit | Standardize, Field(discriminator="step")]


class ModelInput(_Part):
    """What the network takes."""

    shape: tuple[int, int, int]
    """(rows, columns, channels) of one slice."""
    batch: int = Field(default=8, ge=1, le=512)

    @field_validator("shape")
    @classmethod
    def _one_channel(cls, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if shape[2] not in (1, RANK_3D):
            raise ValueError("channels is 1 or 3: a grey image, or the same image three times")
        return shape


class Target(_Part):
    """One thing that the classification output is asked about, on each slice."""

    label: str
    finding: CodedConcept
    category: CodedConcept
    site: CodedConcept | None = None
    laterality: CodedConcept | None = None
    """Of the site: Right, Left, Unilateral, Bilateral (CID 244)."""
    threshold: float = Field(gt=0, lt=1)
    """Operating point: a probability at or above it means Present."""
    temperature: float = Field(default=1.0, gt=0)
    """Calibration: the logit is divided by it (Guo 2017)."""
    located_by: str | None = None
    """The segment whose connected parts are the single findings."""


class Segment(_Part):
    """One class of the segmentation output."""

    label: str
    category: CodedConcept
    type: CodedConcept
    threshold: float = Field(default=0.5, gt=0, lt=1)
    color: tuple[int, int, int] = (255, 180, 0)
    """Recommended display colour, sRGB."""
    min_volume_ml: float = Field(default=0.0, ge=0)
    """Connected parts below it are noise and dropped."""


class Classification(_Part):
    """A head that gives one logit a target."""

    kind: Literal["classification"]
    layer: str
    targets: tuple[Target, ...] = Field(min_length=1)


class Segmentation(_Part):
    """A head that gives one logit a pixel and a segment."""

    kind: Literal["segmentation"]
    layer: str
    segments: tuple[Segment, ...] = Field(min_length=1)


Output = Annotated[Classification | Segmentation, Field(discriminator="kind")]


class ExplanationPlan(_Part):
    """How the model is explained."""

    method: Literal["gradcam", "gradcam++", "hirescam", "layercam"]
    layer: str | None = None
    """The layer whose activations are weighted; found by itself: the one that the head reads."""
    depths: int = Field(default=1, ge=1, le=5)
    """The layer, and finer ones before it, that make the map together."""
    full_scale: float = Field(gt=0)
    """Upper end of the colour bar, in logit units: one scale for all maps of the bundle."""
    region_level: float = Field(default=0.5, gt=0, lt=1)
    """The region that a map names: where it exceeds this part of its peak."""


class Performance(_Part):
    """One measured figure, with its interval and what it was measured on."""

    name: str
    value: float
    low: float
    high: float
    cases: int = Field(ge=1)
    data: str


class Card(_Part):
    """What a reader must know of the model."""

    intended_use: str
    not_for: str
    training_data: str
    limits: tuple[str, ...] = Field(min_length=1)
    performance: tuple[Performance, ...] = ()
    citation: str = ""


class ModelManifest(_Part):
    """The whole of ``manifest.toml``."""

    schema_version: Literal[1]
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,40}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    title: str = Field(max_length=64)
    manufacturer: str = Field(max_length=64)
    content_qualification: Literal["RESEARCH", "SERVICE", "PRODUCT"] = "RESEARCH"
    selection: SeriesSelection
    input: ModelInput
    preprocess: tuple[Step, ...]
    outputs: tuple[Output, ...] = Field(min_length=1)
    explanation: ExplanationPlan
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
    def _parts_agree(self) -> Self:
        segments = {s.label for s in self.segmentation.segments} if self.segmentation else set()
        for target in self.classification.targets if self.classification else ():
            if target.located_by is not None and target.located_by not in segments:
                raise ValueError(
                    f"target {target.label!r} is located_by {target.located_by!r}, "
                    f"but the segments are {sorted(segments)}"
                )
        return self
