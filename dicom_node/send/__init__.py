"""Results, and any other DICOM files, to other systems."""
