"""Where settings come from: a TOML file, the environment over it, secrets from files; read once.

Order, strongest first: environment (``DICOM_NODE__LISTEN__PORT=104``), secret files (a file
``broker__url`` in the folder that ``DICOM_NODE_SECRETS_DIR`` or systemd's
``CREDENTIALS_DIRECTORY`` names), the TOML file, the defaults of the sections. No other module reads
the environment.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from dicom_node.domain.errors import ConfigurationError
from dicom_node.settings.node import PREFIX, Settings


def load_settings(path: Path | None = None) -> Settings:
    """Read all sources once.

    Raises ``ConfigurationError`` with one line for each wrong key.
    """
    _refuse_unknown_variables()
    try:
        return _settings_class(path)()
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: not valid TOML: save it as UTF-8") from None
    except SettingsError as error:
        raise ConfigurationError(
            f"{error}: a list or table in the environment or a secret file is written as JSON, "
            f"as {PREFIX}LISTEN__CALLERS='[\"CT1\"]'"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or path}: {error.strerror}; let the user of this process read it"
        ) from None


def _refuse_unknown_variables() -> None:
    """pydantic overlooks them: a door that should be closed to strangers would stand open."""
    for name in os.environ:
        section = name.lower().removeprefix(PREFIX.lower()).partition("__")[0]
        if name.lower().startswith(PREFIX.lower()) and section not in Settings.model_fields:
            raise ConfigurationError(
                f"environment: {name}: there is no section {section}; correct its spelling, or "
                "unset it"
            )


def origins(path: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """(key, value, origin) of every setting, secrets masked: what ``config show`` prints."""
    settings = load_settings(path)
    layers = [(name, _flat(source())) for name, source in _sources(type(settings), path)]
    for key, value in _flat(_shown(settings)).items():
        origin = next((name for name, values in layers if _names(values, key)), "default")
        yield key, str(value), origin


def _shown(settings: Settings) -> dict[str, Any]:
    """All values as they act: of each destination what it gets, named by itself or not."""
    shown = settings.model_dump(mode="json")
    for destination in shown["destinations"]:
        destination["kinds"] = [kind.value for kind in settings.wanted[destination["name"]]]
    return shown


def _settings_class(path: Path | None) -> type[Settings]:
    if path is not None and not path.is_file():
        raise ConfigurationError(f"{path}: no such file; write one, or leave out --config")

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(source for _, source in _sources(settings_cls, path))

    return Loaded


def _sources(
    settings_cls: type[BaseSettings], path: Path | None
) -> list[tuple[str, PydanticBaseSettingsSource]]:
    sources: list[tuple[str, PydanticBaseSettingsSource]] = [
        ("environment", EnvSettingsSource(settings_cls))
    ]
    if secrets := _secrets_dir():
        nested = NestedSecretsSettingsSource(
            EnvSettingsSource(settings_cls, env_prefix=""),
            secrets_dir=secrets,
            secrets_prefix="",
            secrets_nested_delimiter="__",
        )
        sources.append((f"secret file in {secrets}", nested))
    if path is not None:
        sources.append((str(path), TomlConfigSettingsSource(settings_cls, toml_file=path)))
    return sources


def _secrets_dir() -> Path | None:
    folder = os.environ.get("DICOM_NODE_SECRETS_DIR") or os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and not Path(folder).is_dir():
        raise ConfigurationError(f"{folder}: the secrets folder does not exist")
    return Path(folder) if folder else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _names(values: Mapping[str, Any], key: str) -> bool:
    return any(name == key or name.startswith(f"{key}.") for name in values)


def _explain(error: ValidationError, path: Path | None) -> str:
    where = str(path) if path else "settings"
    lines = [
        f"{where}: {'.'.join(map(str, e['loc'])) or 'settings'}: {_advice(e)}"
        for e in error.errors(include_input=False, include_url=False)
    ]
    return "\n".join(lines)


def _advice(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        *place, name = error["loc"]
        near = difflib.get_close_matches(str(name), _keys(place), 1)
        meant = f"did you mean {near[0]}? " if near else ""
        return f"there is no such setting; {meant}`dicom-node config show` prints all"
    if error["type"] == "path_type":
        return "write a path, in quotes"
    return error["msg"].removeprefix("Value error, ")


def _keys(place: Sequence[int | str]) -> list[str]:
    """What a table of the file may hold; nothing where its place does not say."""
    section: Any = Settings
    for name in (each for each in place if isinstance(each, str)):
        field = getattr(section, "model_fields", {}).get(name)
        kinds = (field.annotation, *get_args(field.annotation)) if field else ()
        section = next((k for k in kinds if hasattr(k, "model_fields")), None)
    return list(getattr(section, "model_fields", ()))
