"""Look into the weights of a ``.keras`` file before Keras does: HDF5 can name other files, and
claim more numbers than any memory holds."""

import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dicom_node.domain.errors import CorruptBundle
from workers.arrays import NO_ZIP

MEMBER, CONFIG = "model.weights.h5", "config.json"
SPARE = 2**20
"""Numbers that a network may have and not save: states, seeds."""
NUMBERS = "biufcV"
"""Kinds of NumPy types that hold their values themselves; V: bfloat16."""


def refuse_weights(path: Path) -> None:
    """Raise CorruptBundle (BUNDLE_WEIGHTS) for weights that reach beyond their own file.

    That is: links to other files or names, external and virtual storage, values that are
    references, and more bytes of values than the file has.
    """
    with zipfile.ZipFile(path) as archive, TemporaryDirectory() as folder:
        size = archive.getinfo(MEMBER).file_size
        try:
            claimed = sum(_sizes(Path(archive.extract(MEMBER, folder))))
        except (*NO_ZIP, OSError, ValueError, KeyError) as error:
            raise _refusal("is no readable HDF5 file") from error
    if claimed > size:
        raise _refusal("claims more numbers than it has room for")


def refuse_larger(path: Path) -> None:
    """Raise CorruptBundle (BUNDLE_WEIGHTS) for layers that want more numbers than the weights have.

    The network is built of shapes alone. What cannot be built so is left to Keras, which says why.
    """
    with zipfile.ZipFile(path) as archive:
        room, config = archive.getinfo(MEMBER).file_size, json.loads(archive.read(CONFIG))
    try:
        wanted = _wanted(config)
    except Exception:  # noqa: BLE001 - whatever it is, loading meets it again
        return
    if wanted > room + SPARE:
        raise _refusal(f"has no room for the {wanted:,} numbers that its layers want")


def _wanted(config: Any) -> int:
    """Numbers in the variables of a network; none of them gets a value."""
    import keras
    from keras.src.backend.common import global_state

    try:
        with keras.StatelessScope(initialize_variables=False):
            network = keras.saving.deserialize_keras_object(config, safe_mode=True)
            return sum(math.prod(variable.shape) for variable in network.variables)
    finally:
        global_state.set_global_attribute("uninitialized_variables", [])


def _refusal(why: str) -> CorruptBundle:
    return CorruptBundle(
        f"{MEMBER} {why}: save the model with model.save('model.keras')", code="BUNDLE_WEIGHTS"
    )


def _sizes(path: Path) -> Iterator[int]:
    """Bytes that each dataset claims; a group is looked into once, however often it is linked."""
    import h5py

    with h5py.File(path, "r") as file:
        groups, seen = [file["/"]], set()
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _refusal("holds a link to something else")
                found = group[name]
                if isinstance(found, h5py.Dataset):
                    yield _size(found)
                elif (address := h5py.h5o.get_info(found.id).addr) not in seen:
                    seen.add(address)
                    groups.append(found)


def _size(values: Any) -> int:
    if values.external or values.is_virtual:
        raise _refusal("keeps its values in other files")
    if values.dtype.kind not in NUMBERS:
        raise _refusal("holds something else than numbers")
    return int(values.nbytes)
