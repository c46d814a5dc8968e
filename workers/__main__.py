"""``python -m workers`` is ``dicom-worker``."""

from workers.cli import main

main()
