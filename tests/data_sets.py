"""Phantoms as a data set on disk: a table, images, masks and references."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from PIL import Image

from dicom_node.testing.study import make_study, save_study

SEED = 70_000
FORMS = ("dicom", "nifti", "png")


def save(values: np.ndarray, images: Any, path: Path) -> None:
    """As NIfTI, with the spacing of the images."""
    volume = SimpleITK.GetImageFromArray(values)
    volume.SetSpacing([float(mm) for mm in reversed(images.spacing_mm)])
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(volume, str(path))


def drawn(home: Path, name: str, label: str, count: int) -> Path:
    """Phantoms as NIfTI files with masks; some of them have nothing to find."""
    from workers.training.tasks import recipe_of
    from workers.training.tasks.phantoms import of, sphere

    rows = []
    for seed in range(SEED, SEED + count):
        planted = recipe_of(name).plant(seed)
        source = of(planted).phantom
        mask = source.body if label == "Diameter" else source.lesion
        mask = sphere(planted) if label == "Sphere" else mask
        save(planted.images.pixels, planted.images, home / "images" / f"{seed}.nii.gz")
        save(mask.astype("u1"), planted.images, home / "masks" / f"{seed}.nii.gz")
        rows.append({"id": seed, "label": label if mask.any() else "", "patient": seed})
    write_table(home, rows)
    return home


def drawn_views(home: Path, count: int) -> Path:
    """A study a breast, and a mask for each view that shows a mass: in a folder, called as it."""
    from dicom_node.testing.mammogram import VIEWS, breast_and_mass, make_mammograms

    rows = []
    for seed in range(SEED, SEED + count):
        there = ((True, True), (True, True), (True, False), (False, False))[seed % 4]
        views = zip(VIEWS, there, strict=True)
        drawn = [(view, *breast_and_mass(seed, view, mass=mass)) for view, mass in views]
        study, masks = home / "images" / str(seed), home / "masks" / str(seed)
        instances = make_mammograms([("L", view, pixels) for view, pixels, _ in drawn])
        files = save_study(instances, study)
        masks.mkdir(parents=True)
        for (_, _, mask), file in zip(drawn, files, strict=True):
            if mask.any():
                image = Image.fromarray((mask * 255).astype("u1"))
                image.save(masks / file.with_suffix(".png").name)
        label = "Mass" if all(there) else ""
        row = {"image": f"images/{seed}", "mask": f"masks/{seed}", "label": label, "patient": seed}
        rows.append(row)
    write_table(home, rows)
    return home


def measured(home: Path, count: int) -> Path:
    """Phantoms and their diameters."""
    return _planted(home, "qa-diameter", count, lambda made: {"Diameter": made.diameter_mm})


def noisy(home: Path, count: int) -> Path:
    """Phantoms with noise, and without it as references."""
    return _planted(home, "qa-denoise", count, lambda _: {}, clean=True)


def _planted(home: Path, name: str, count: int, told: Any, *, clean: bool = False) -> Path:
    from workers.training.tasks import recipe_of
    from workers.training.tasks.phantoms import of

    rows = []
    for seed in range(SEED, SEED + count):
        planted = recipe_of(name).plant(seed)
        save(planted.images.pixels, planted.images, home / "images" / f"{seed}.nii.gz")
        row = {"id": seed, "patient": seed, "sex": "FM"[seed % 2], **told(of(planted))}
        if clean:
            row["reference"] = f"clean/{seed}.nii.gz"
            save(of(planted).clean_hu, planted.images, home / row["reference"])
        rows.append(row)
    write_table(home, rows)
    return home


def write_table(home: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """As ``data.csv``."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "data.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def inserts(
    home: Path,
    form: str,
    count: int,
    *,
    slices: int = 1,
    masks: bool = True,
    label: str = "Disc",
) -> Path:
    """Cylinders as DICOM folders, NIfTI or windowed PNG files; every second one has a disc.

    Patients have two cases each, and lie in the folds 1 to 5.
    """
    from dicom_node.testing.inserts import cylinder

    rows = []
    for number in range(count):
        made = cylinder(SEED + number, ("disc",) * (number % 2), slices=slices, size=64)
        name, patient = f"{number:03}", f"p{number // 2}"
        row = {"patient": patient, "fold": 1 + number // 2 % 5, "label": label * (number % 2)}
        row |= {"image": _stored(made.phantom, patient, form, home / "images" / name, home)}
        if masks:
            row["mask"] = f"masks/{name}.nii.gz"
            save(made.phantom.lesion.astype("u1"), made.phantom, home / row["mask"])
        rows.append({**row, "spacing_mm": made.phantom.spacing_mm[1], "Diameter": made.diameter_mm})
    write_table(home, rows)
    return home


def _stored(source: Any, patient: str, form: str, path: Path, home: Path) -> str:
    if form == "dicom":
        save_study(make_study(source, attributes={"PatientID": patient}), path)
    elif form == "nifti":
        path = path.with_name(f"{path.name}.nii.gz")
        save(source.hu, source, path)
    else:
        path = path.with_name(f"{path.name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = (source.hu[0] + 160.0) / 400 * 255
        Image.fromarray(grey.clip(0, 255).astype("u1")).save(path)
    return str(path.relative_to(home))
