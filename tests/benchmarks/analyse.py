"""What a study costs: the whole analysis of a phantom beside the forward passes of its network."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, in_turn, row, seconds

from dicom_node.domain.provenance import Provenance
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study, save_study

FLOOR = "forward passes"


def rows() -> Iterator[Row]:
    """Seconds for 24 slices: analysis without and with writing all results."""
    from dicom_node.catalog import open_bundle, shipped_bundles
    from reports.case import Case
    from reports.part10 import dataset_bytes
    from reports.writer import write_results
    from workers.analysis import analyse
    from workers.loading import load_model
    from workers.preprocess import prepare
    from workers.volume import read_series

    (folder,) = [p for p in shipped_bundles() if p.name == "phantom-lesion"]
    model = load_model(open_bundle(folder))
    provenance = Provenance("1.2.3", 1, "a" * 64, "b" * 64, "c" * 64, datetime.now(UTC))
    with TemporaryDirectory() as scratch:
        paths = save_study(make_study(phantom(30_900)), Path(scratch))
        prepared = prepare(read_series(paths), model.manifest)
        batch = model.manifest.input.batch

        def forward() -> None:
            for start in range(0, len(prepared.values), batch):
                model.predict(prepared.values[start : start + batch])

        def everything() -> None:
            done = analyse(paths, model, provenance)
            for result in write_results(Case(done)):
                dataset_bytes(result.dataset)

        figures = in_turn(
            {
                "analysis": lambda: seconds(lambda: analyse(paths, model, provenance)),
                "study": lambda: seconds(everything),
                FLOOR: lambda: seconds(forward),
            }
        )
    yield row(figures, "analysis", "analyse.phantom.analysis_s", "s", FLOOR)
    yield row(figures, "study", "analyse.phantom.study_s", "s", FLOOR)
