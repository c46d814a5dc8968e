"""The doctor says before the first report that Chinese letters would be missing from it."""

import os
import subprocess
import sys

import pytest

ASK = """
from dicom_node.doctor import _chinese
from dicom_node.settings.node import Settings
from dicom_node.settings.results import Results
for check in _chinese(Settings(results=Results(language="{}"))):
    print(check.health, check.found, check.advice)
"""


def ask(language, **environment):
    command = [sys.executable, "-c", ASK.format(language)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout.strip()


def test_a_machine_without_chinese_letters_is_told_what_to_install(tmp_path):
    config = tmp_path / "fonts.conf"
    config.write_text('<?xml version="1.0"?><fontconfig></fontconfig>')
    said = ask("zh-Hans", FONTCONFIG_FILE=str(config))
    assert said.startswith("bad none")
    assert "fonts-wqy-microhei" in said


def test_a_machine_with_chinese_letters_is_well():
    assert ask("zh-Hans") == "ok found"


@pytest.mark.parametrize("language", ["en", "de"])
def test_other_languages_ask_for_nothing(language):
    assert ask(language) == ""
