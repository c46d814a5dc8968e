"""The vocabulary of the node: frozen values named after DICOM keywords. No I/O."""
