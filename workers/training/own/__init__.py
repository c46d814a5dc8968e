"""``dicom-worker train own``: a group's data, manifest and recipe in, a bundle folder out."""
