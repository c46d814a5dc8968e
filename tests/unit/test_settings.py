"""Settings: one file, the environment over it, secrets from files; errors name the key."""

from pathlib import Path

import pytest

from dicom_node.doctor import Health, examine
from dicom_node.domain.delivery import ResultKind
from dicom_node.domain.errors import ConfigurationError
from dicom_node.settings.sources import load_settings, origins
from dicom_node.settings.web import is_loopback

PEER = '[[destinations]]\nname = "a"\nhost = "h"\nport = 1\nae_title = "A"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "dicom-node.toml"
    path.write_text('data_dir = "/srv/node"\n[listen]\nport = 104\nae_title = "AI"\n')
    return path


def test_the_environment_is_stronger_than_the_file(config, monkeypatch):
    monkeypatch.setenv("DICOM_NODE__LISTEN__PORT", "11113")
    settings = load_settings(config)
    assert (settings.listen.port, settings.listen.ae_title) == (11113, "AI")


def test_secrets_come_from_files_and_are_masked(config, tmp_path, monkeypatch):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "broker__url").write_text("redis://:hunter2@broker:6379/0")
    monkeypatch.setenv("DICOM_NODE_SECRETS_DIR", str(secrets))
    assert load_settings(config).broker_url == "redis://:hunter2@broker:6379/0"
    shown = {key: (value, origin) for key, value, origin in origins(config)}
    assert "hunter2" not in str(shown)
    assert shown["broker.url"][1].startswith("secret file")


def test_a_secret_that_may_not_be_read_is_named(config, tmp_path, monkeypatch):
    """As of a container whose user is not the one that wrote the file."""
    (tmp_path / "broker__url").write_text("redis://broker")
    monkeypatch.setenv("DICOM_NODE_SECRETS_DIR", str(tmp_path))

    def closed(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(ConfigurationError, match="broker__url: Permission denied; let the user"):
        load_settings(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[listen]\nprot = 104", "listen.prot: there is no such setting; did you mean port?"),
        ("[lisen]\nport = 104", "lisen: there is no such setting; did you mean listen?"),
        ("[web]\nqqqq = 1", "web.qqqq: there is no such setting; `dicom-node config show` prints"),
        (PEER + 'kind = ["PDF"]', "destinations.0.kind: .* did you mean kinds?"),
        ("[listen.tls]\ncertificat = 'x'", "listen.tls.certificat: .* did you mean certificate?"),
        ("[[completeness.series]]\nname='a'\n[[completeness.series.rules]]\nx=1", "rules.0.x: .*"),
        ("data_dir = 3", "data_dir: write a path, in quotes"),
        ('[web]\nhost = "0.0.0.0"', "web: host 0.0.0.0 can be reached"),
    ],
)
def test_what_is_wrong_is_named_with_its_remedy(config, text, told):
    config.write_text(text)
    with pytest.raises(ConfigurationError, match=told.replace("?", r"\?")):
        load_settings(config)


def test_every_setting_shows_where_it_comes_from(config, monkeypatch):
    monkeypatch.setenv("DICOM_NODE__WEB__PORT", "8081")
    shown = {key: origin for key, _, origin in origins(config)}
    assert shown["listen.port"] == str(config)
    assert shown["web.port"] == "environment"
    assert shown["sweep.interval_s"] == "default"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[listen]\nport = 99999", "listen.port"),
        ("[listen]\nprot = 1", "listen.prot"),
        ('[listen]\nae_title = "THIS TITLE IS TOO LONG"', "listen.ae_title"),
        ('[web]\nhost = "0.0.0.0"', "password"),
        ("[worker]\nsoft_limit_s = 700", "soft_limit_s must be below"),
        ("[listen", "not valid TOML"),
        ('[results]\nkinds = ["REJECTION_NOTE"]', "goes by itself"),
        (PEER + "kinds = []", "gets nothing"),
        (PEER + 'kinds = ["REJECTION_NOTE"]', "goes by itself"),
        (PEER * 2, "every name may appear once"),
        (PEER.replace('"h"', '""'), "destinations.0.host"),
        (PEER.replace('"h"', '"pacs..local"'), "destinations.0.host"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, text, part):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=part):
        load_settings(path)


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("DICOM_NODE__LISEN__CALLERS", '["CT1"]', "no section lisen"),
        ("DICOM_NODE__LISTEN__CALERS", '["CT1"]', "listen.calers"),
        ("DICOM_NODE__LISTEN__CALLERS", "CT1", "as JSON"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch, name, value, part):
    """One that was overlooked would leave the door open."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=part):
        load_settings()


def test_a_file_in_another_encoding_is_said(tmp_path):
    path = tmp_path / "latin.toml"
    path.write_bytes('[listen]\nae_title = "RÖNTGEN"\n'.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="save it as UTF-8"):
        load_settings(path)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://broker", "redis://broker:p/0", "redis://:a/b@h:1/0"]
)
def test_a_broker_that_celery_cannot_use_is_refused(config, monkeypatch, url):
    """It would end the sweep whenever a job waits, before any study had been quiet for long."""
    monkeypatch.setenv("DICOM_NODE__BROKER__URL", url)
    with pytest.raises(ConfigurationError, match=r"broker\.url: .*redis://:PASSWORD@HOST") as wrong:
        load_settings(config)
    assert "a/b" not in str(wrong.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pacs", False)],
)
def test_loopback_is_known_by_address(host, loopback):
    assert is_loopback(host) is loopback


PEERS = """
[results]
kinds = ["SEGMENTATION", "STRUCTURED_REPORT"]
[[destinations]]
name = "archive"
host = "127.0.0.1"
port = 1
ae_title = "A"
[[destinations]]
name = "referrers"
host = "127.0.0.1"
port = 1
ae_title = "B"
kinds = ["KEY_OBJECTS", "STRUCTURED_REPORT"]
"""


@pytest.fixture
def peers(tmp_path):
    path = tmp_path / "peers.toml"
    path.write_text(PEERS)
    return path


def test_what_one_destination_asks_for_is_made_for_it_alone(peers):
    settings = load_settings(peers)
    seg, sr, kos = (
        ResultKind.SEGMENTATION, ResultKind.STRUCTURED_REPORT, ResultKind.KEY_OBJECTS
    )  # fmt: skip
    assert settings.wanted == {"archive": (seg, sr), "referrers": (kos, sr)}
    assert settings.written.kinds == (seg, sr, kos)
    assert settings.written.sha256 != settings.results.sha256


def test_a_destination_that_asks_for_nothing_more_changes_no_identity(peers):
    peers.write_text(PEERS.replace('"KEY_OBJECTS", ', ""))
    settings = load_settings(peers)
    assert settings.written.sha256 == settings.results.sha256


def test_what_is_shown_of_a_destination_is_what_it_gets(peers):
    shown = {key: value for key, value, _ in origins(peers)}["destinations"]
    assert "'name': 'archive'" in shown
    assert "['SEGMENTATION', 'STRUCTURED_REPORT']" in shown
    assert "['KEY_OBJECTS', 'STRUCTURED_REPORT']" in shown


@pytest.mark.parametrize(
    ("kinds", "health", "found"),
    [
        ('["KEY_OBJECTS", "STRUCTURED_REPORT"]', Health.OK, "KOS, SR"),
        ('["ENCAPSULATED_PDF"]', Health.OK, "PDF"),
        ('["SECONDARY_CAPTURE"]', Health.NOTE, "SC"),
    ],
)
def test_the_doctor_says_what_each_gets_and_who_would_hear_of_no_failure(
    peers, kinds, health, found
):
    peers.write_text(PEERS.replace('["KEY_OBJECTS", "STRUCTURED_REPORT"]', kinds))
    settings = load_settings(peers).model_copy(update={"data_dir": peers.parent})
    checks = {check.what: check for check in examine(settings)}
    check = checks["results for referrers"]
    assert (check.health, check.found) == (health, found)
    assert ("ENCAPSULATED_PDF" in check.advice) == (health is Health.NOTE)


def test_results_settings_have_an_identity(config, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("[results]\nseries_number_base = 8000\n")
    assert load_settings(config).results.sha256 == load_settings().results.sha256
    assert load_settings(other).results.sha256 != load_settings().results.sha256
