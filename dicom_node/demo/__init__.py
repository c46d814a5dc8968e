"""``dicom-node demo``: the whole node, an archive and a study on one machine, then nothing left."""
