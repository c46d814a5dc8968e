"""What can be asked without TensorFlow is asked without TensorFlow."""

import subprocess
import sys

import pytest

LIGHT = [
    "dicom_node.catalog",
    "explain.explainer",
    "explain.projection",
    "explain.thorough",
    "explain.region",
    "workers.analysis",
    "workers.bundle",
    "workers.findings",
    "workers.model",
    "workers.preprocess",
    "workers.trust",
    "workers.volume",
]


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_does_not_load_tensorflow(module):
    check = (
        f"import sys, {module}; "
        "assert not {'tensorflow', 'keras', 'tf_keras_vis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
