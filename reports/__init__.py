"""An Analysis in, DICOM objects and HTML/PDF out."""
