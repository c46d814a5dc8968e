"""What this implementation calls itself in associations and files (PS3.7 D.3.3.2, PS3.10 7.1)."""

from dicom_node.domain.uid import uuid_uid

IMPLEMENTATION_CLASS_UID = uuid_uid("implementation|dicom-node")
IMPLEMENTATION_VERSION_NAME = "DICOM_NODE"
"""Without a version: it stands in stored files, and the same instance must keep the same bytes."""
