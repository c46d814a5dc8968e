"""What one destination alone asks for is made for it, and goes to it alone."""

import pytest
from clinic import Clinic

from dicom_node.settings.results import Destination, Results
from dicom_node.testing.phantom import phantom
from dicom_node.testing.study import make_study

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TO_ALL, TO_ONE = ("STRUCTURED_REPORT",), ("ENCAPSULATED_PDF", "STRUCTURED_REPORT")


def peer(name, kinds=None):
    return Destination(name=name, host="127.0.0.1", port=104, ae_title="A", kinds=kinds)


@pytest.fixture
def clinic(tmp_path):
    made = Clinic(tmp_path)
    settings = made.world.settings.model_copy(
        update={
            "results": Results(kinds=TO_ALL),
            "destinations": (peer("archive"), peer("referrers", TO_ONE)),
        }
    )
    made.world.settings = made.worker.settings = settings
    made.world.restart()
    yield made
    made.close()


def test_a_page_goes_to_the_one_that_asks_for_it(clinic):
    study = make_study(phantom(1, slices=12, size=64))
    clinic.send(study)
    clinic.answer()
    page = clinic.page(study)
    kinds = {row["sop_instance_uid"]: row["kind"] for row in page.results}
    sent = [(d["destination"], kinds[d["sop_instance_uid"]]) for d in page.deliveries]
    assert sorted(sent) == [
        ("archive", "STRUCTURED_REPORT"),
        ("referrers", "ENCAPSULATED_PDF"),
        ("referrers", "STRUCTURED_REPORT"),
    ]
