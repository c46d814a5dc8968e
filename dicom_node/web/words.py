"""States, reason codes and events in sentences: what happened, and what to do next."""

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.domain.delivery import DeliveryState, ResultKind
from dicom_node.web import statuses


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code in words."""

    code: str
    what: str
    do: str = ""
    """Next step; empty: nothing needs to be done."""


_AGAIN = "If it happens again, run `dicom-node doctor` and read the log for this job."
_SENDER = "Correct the images at the sender and send the study again."
_TOLD = {
    # of studies
    "NO_MODEL": (
        "No model reads this kind of study. It was not analysed.",
        "The series table says why each model took none. Nothing to do if that is intended.",
    ),
    "UID_CONFLICT": (
        "One image arrived twice with different content, in this study or in another one. Nothing "
        "is analysed until this is clear.",
        "Find out which system changed the image without a new SOP Instance UID.",
    ),
    "PATIENT_MIX": (
        "The images name more than one patient.",
        "Correct the patient at the modality or the PACS, then send the study again.",
    ),
    # of images
    "INCOMPLETE": (
        "Images that the model needs are missing.",
        "Send the whole series again; the study then starts anew.",
    ),
    "UNPARSEABLE": ("The images cannot be read as DICOM.", _SENDER),
    "ALTERED": (
        "Stored bytes are not those that were received or made: the disk, or somebody, changed "
        "them.",
        "Check the disk. `dicom-node verify` names what to restore from a backup, or to have sent "
        "again; then retry. A study that was held back goes on by itself once it was sent again, "
        "and at the next start of the sweep once it was restored.",
    ),
    "GEOMETRY": (
        "The images form no regular volume: spacing or orientation is missing or contradictory.",
        "Send an original axial series with its positions.",
    ),
    "SLICE_SET": (
        "The images of the series do not fit together: a gap, a double position or other sizes.",
        "Send the complete original series again.",
    ),
    "FRAME_COUNT": ("The pixel data hold another number of frames than the header says.", _SENDER),
    "PIXEL_LENGTH": ("The pixel data are shorter or longer than the header says.", _SENDER),
    "PIXEL_ATTR": ("The header contradicts itself on how pixels are stored.", _SENDER),
    "PIXEL_LIMIT": (
        "The series has more pixels than this node may read.",
        "Send a smaller series or a thicker reconstruction.",
    ),
    "HEADER_LIMIT": (
        "The headers of the images are larger than this node may read.",
        "Look at one of the images with dcmdump, and correct it at the sender.",
    ),
    "VALUE": ("A header value that the analysis needs is not usable.", _SENDER),
    "UNSUPPORTED": (
        "The images are of a kind that the model cannot read.",
        "Send a series that the model card names.",
    ),
    "DECODER": (
        "The pixel data cannot be decoded by this install, or are damaged.",
        "`dicom-node doctor` lists what can be decoded; let the sender use one of these.",
    ),
    "NO_SYNTAX": (
        "The images are encoded in a transfer syntax that this install cannot decode.",
        "`dicom-node doctor` lists what can be decoded; let the sender use one of these.",
    ),
    # of models and workers
    "BUNDLE": (
        "The model bundle is damaged or may not be loaded.",
        "Run `dicom-worker check` on the bundle, install it again, then retry.",
    ),
    "BUNDLE_CODE": (
        "The model bundle holds code or layers that may not be loaded.",
        "Ask its maker for a bundle of standard layers.",
    ),
    "BUNDLE_GONE": (
        "The worker does not have the very model that this analysis was ordered from.",
        "Install the bundle on the worker again, then retry.",
    ),
    "DATA_LEAK": (
        "A patient, or an image, is in more than one fold of a data set.",
        "Give each patient one fold in its table, then train or evaluate again.",
    ),
    "BUNDLE_SIZE": (
        "The model bundle is larger than it may be.",
        "Ask its maker for a smaller one.",
    ),
    "BUNDLE_WEIGHTS": (
        "The model's weights file names other files, or claims more numbers than it may hold.",
        "Ask its maker for a file that `model.save('model.keras')` wrote.",
    ),
    "BUNDLE_PATH": (
        "The model bundle holds files that do not belong there.",
        "Remove what `dicom-worker check` names, then retry.",
    ),
    "SIGNATURE": (
        "The model bundle is not what its checksums or its signature say.",
        "Install it again from its maker, then retry.",
    ),
    "MODEL": (
        "The model cannot be run or explained as its manifest asks.",
        "Run `dicom-worker check` on the bundle and tell its author.",
    ),
    "MODEL_OUTPUT": ("The model answered with numbers that mean nothing.", "Tell its author."),
    "UNUSABLE": ("The input cannot be analysed.", "See the worker's log for this job."),
    "DEVICE_MEMORY": (
        "The model did not fit into the memory that was free.",
        "Free memory on the worker, or raise its limit, then retry.",
    ),
    "MEMORY": (
        "The worker ran out of memory.",
        "Free memory on the worker, or raise worker.memory_mib.",
    ),
    "TIME_LIMIT": (
        "The analysis took longer than its limit.",
        "Raise worker.soft_limit_s and worker.hard_limit_s, or send fewer images.",
    ),
    "POISON": ("Every try ended with a crash of the worker.", _AGAIN),
    "MODEL_PAUSED": (
        "The model crashed, hung or gave no usable answer on five studies in a row: it is paused, "
        "its jobs wait.",
        "Read the worker's log for one of them; then retry it, and the model runs again.",
    ),
    "LEASE_LOST": (
        "The worker stopped without a word: a crash, a restart or a power loss.",
        _AGAIN,
    ),
    "INTERNAL": ("The node failed, not the study.", _AGAIN),
    "TRANSIENT": ("Something was not available for a moment.", "The node tries again by itself."),
    "BROKER_UNAVAILABLE": ("Redis does not answer.", "Start Redis; the node rings again."),
    "LEDGER_BUSY": ("The ledger was locked for too long.", "The node tries again by itself."),
    "CANNOT_LISTEN": (
        "The address to listen on is taken, or is none of this machine.",
        "Stop the program that listens there, or correct host and port in the settings.",
    ),
    "STORE_HELD": (
        "Another process receives into the same store.",
        "Stop it, or give each node a data_dir of its own.",
    ),
    "NO_SPACE": ("The disk is full.", "Free space on the disk of data_dir."),
    "STORAGE_IO": ("The disk failed to write.", "Check the disk of data_dir and the kernel log."),
    "RETENTION": (
        "It was kept for as long as this site wants: `sweep.keep_days`.",
        "",
    ),
    "STUDY_UNKNOWN": ("This node has no such study, or has removed it.", ""),
    "ON_DEMAND": ("A person ordered it: `dicom-node remove`.", ""),
    "SUPERSEDED": ("More images arrived; a later analysis takes its place.", ""),
    "CONFLICT": ("Another process had finished this work before.", ""),
    # of deliveries
    "REMOVED": ("Its study was removed before this was sent.", ""),
    "REJECTED": ("A reader rejected the result before this was sent.", ""),
    "OTHER_FORM": (
        "The destination gets another form of the report: "
        "those without 3D go only where the one with 3D is refused.",
        "",
    ),
    "PEER_UNREACHABLE": (
        "The destination cannot be reached, or rejects our AE title.",
        "Check that it runs and knows this node. Sending goes on by itself.",
    ),
    "BEHIND": ("An object that goes before it was refused, and is tried again first.", ""),
    "NO_ANSWER": (
        "The destination broke off without an answer.",
        "Sending goes on by itself; the destination's log may say more.",
    ),
    "NO_CONTEXT": (
        "The destination does not take this kind of object.",
        "Allow its SOP class there, or leave it out of this destination's kinds, then send again.",
    ),
    "UNPROVEN": (
        "The destination took it, and offers neither Storage Commitment nor C-FIND to prove it.",
        "",
    ),
    "FOUND": ("A query (C-FIND) found it there.", ""),
    "NOT_FOUND": (
        "The destination took it, but a query (C-FIND) does not find it there.",
        "It is asked again, then sent again once. If it is held, look for it there, then send "
        "again.",
    ),
    "COMMITMENT_SILENT": (
        "The destination was asked to confirm what it keeps, and does not report.",
        "Let it know this node's AE title, host and port, and let listen.callers name it. It is "
        "asked again by itself.",
    ),
    "DELIVERY_REFUSED": ("The destination said no.", "Read its log, correct it, then send again."),
    "UNKNOWN_DESTINATION": (
        "The settings name no such destination any more.",
        "Add it again under [[destinations]].",
    ),
}
_TASKS: Mapping[str, str] = {
    "study.closed": "Study complete: images frozen, models asked",
    "study.quarantined": "Study held back",
    "study.reopened": "The node started anew and tries the study again",
    "study.removed": "Study removed: images, results and what named the patient",
    "study.anew": "An image came after the study was removed: it starts anew",
    "job.opened": "Analysis ordered",
    "job.claimed": "Analysis started",
    "job.analysed": "Analysis finished, results stored",
    "job.failed": "Analysis failed",
    "job.ready": "Analysis stopped, will be tried again",
    "job.quarantined": "Analysis given up, images kept",
    "job.retried": "Analysis ordered again by a person",
    "job.cancelled": "Analysis cancelled",
    "job.declined": "No model was asked",
    "job.answered": "Why there is no result was written down, to be sent",
    "job.unanswerable": (
        "Nothing to send: the images name two patients, no header of them can be read, "
        "or neither SR nor PDF is wanted"
    ),
    "job.superseded": "Superseded by a later analysis",
    "job.rejected": "Result rejected by a reader; what was not sent yet stays here",
    "job.retracted": "Rejection note written, to be sent",
    "delivery.sent": "Object sent",
    "delivery.commitment_asked": "The destination was asked to confirm what it was sent",
    "delivery.confirmed": "The destination confirmed that it keeps the object",
    "delivery.unproven": "The destination offers no proof of what it was sent",
    "delivery.ready": "Sending postponed",
    "delivery.held": "Object held: the destination will not take it",
    "delivery.retried": "Sending ordered again by a person",
}
KINDS: Mapping[str, str] = {
    ResultKind.DERIVED_IMAGE: "Derived image",
    ResultKind.SEGMENTATION: "Segmentation",
    ResultKind.PARAMETRIC_MAP: "Heat map as data",
    ResultKind.SECONDARY_CAPTURE: "Picture",
    ResultKind.PRESENTATION_STATE: "Outlines over the images",
    ResultKind.COLOR_PRESENTATION_STATE: "Colours of the heat map",
    ResultKind.KEY_OBJECTS: "Key images",
    ResultKind.ENCAPSULATED_PDF: "PDF report",
    ResultKind.STRUCTURED_REPORT: "Structured report",
    ResultKind.FLAT_REPORT: "Structured report without 3D",
    ResultKind.ENHANCED_REPORT: "Structured report, enhanced",
    ResultKind.REJECTION_NOTE: "Rejection note",
}
BY_PACS, NOT_YET = "Confirmed by PACS", "Sent, not yet confirmed"
NO_PROOF = "Sent; this archive offers no proof"
DELIVERIES: Mapping[str, str] = {
    DeliveryState.READY: "Waiting",
    DeliveryState.SENDING: "Sending",
    DeliveryState.SENT: "Sent",
    DeliveryState.COMMITMENT_ASKED: NOT_YET,
    DeliveryState.CONFIRMED: BY_PACS,
    DeliveryState.HELD: "Held",
    DeliveryState.WITHDRAWN: "Withdrawn",
    DeliveryState.NOT_NEEDED: "Not needed",
}


def reason(code: str) -> Reason | None:
    """A reason code in words; an unknown code as it is; none for no code."""
    if not code:
        return None
    if code in _TOLD:
        return Reason(code, *_TOLD[code])
    return Reason(code, *(statuses.told(code) or (code,)))


def event(action: str) -> str:
    """What an event says; an unknown one as it is."""
    return _TASKS.get(action, action)


def kind(name: str) -> str:
    """A result kind in words; an unknown one as it is."""
    return KINDS.get(name, name)
