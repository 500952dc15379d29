"""Turn typed frozen dataclasses into JSON and back, and read the environment (nobody else does)."""

import dataclasses
import difflib
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from vivace.core.errors import ConfigError

T = TypeVar("T")
Json = Any

KIND = "kind"


def to_json(value: object) -> Json:
    """A config as plain JSON values; a dataclass carries its class name under "kind"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {KIND: type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(
        f"cannot write a {type(value).__name__} into a config; use numbers, strings or dataclasses"
    )


def from_json(cls: type[T], data: Json, where: str = "") -> T:
    """Build `cls` from what `to_json` wrote.

    Raises:
        ConfigError: On an unknown key (near names are listed), a missing key or a value of another type.
    """
    return _build(cls, data, where or getattr(cls, "__name__", str(cls)))


def _build(hint: Any, data: Json, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _build_union(get_args(hint), data, where)
    if origin is Literal:
        if data not in get_args(hint):
            raise ConfigError(f"{where}: got {data!r}, expected one of {list(get_args(hint))}")
        return data
    if origin is tuple:
        items = get_args(hint)
        if not isinstance(data, list):
            raise ConfigError(f"{where}: got {type(data).__name__}, expected a list")
        if len(items) == 2 and items[1] is Ellipsis:
            return tuple(_build(items[0], item, f"{where}[{i}]") for i, item in enumerate(data))
        if len(items) != len(data):
            raise ConfigError(f"{where}: got {len(data)} items, expected {len(items)}")
        return tuple(_build(item, value, f"{where}[{i}]") for i, (item, value) in enumerate(zip(items, data)))
    if dataclasses.is_dataclass(hint):
        return _build_dataclass(hint, data, where)
    if hint is Path and isinstance(data, str):
        return Path(data)
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if hint in (bool, int, float, str) and type(data) is hint:
        return data
    if hint is type(None) and data is None:
        return None
    raise ConfigError(f"{where}: got {data!r}, expected {getattr(hint, '__name__', hint)}")


def _build_union(members: tuple[Any, ...], data: Json, where: str) -> Any:
    if data is None and type(None) in members:
        return None
    if isinstance(data, dict):
        classes = [member for member in members if isinstance(member, type)]
        kinds = {member.__name__: member for member in classes if dataclasses.is_dataclass(member)}
        kind = data.get(KIND)
        if kind not in kinds:
            raise ConfigError(f"{where}.{KIND}: got {kind!r}, expected one of {sorted(kinds)}")
        return _build(kinds[kind], data, where)
    reasons: list[str] = []
    for member in members:
        try:
            return _build(member, data, where)
        except ConfigError as error:
            reasons.append(str(error))
    raise ConfigError("; or ".join(reasons))


def _build_dataclass(cls: Any, data: Json, where: str) -> Any:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: got {type(data).__name__}, expected the fields of {cls.__name__}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if data.get(KIND, cls.__name__) != cls.__name__:
        raise ConfigError(f"{where}.{KIND}: got {data[KIND]!r}, expected {cls.__name__!r}")
    for key in data:
        if key != KIND and key not in fields:
            near = difflib.get_close_matches(key, fields) or sorted(fields)
            raise ConfigError(f"{where}: unknown key {key!r}, expected one of {near}")
    given = {key: _build(hints[key], item, f"{where}.{key}") for key, item in data.items() if key != KIND}
    for name, field in fields.items():
        is_required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if is_required and name not in given:
            raise ConfigError(f"{where}: key {name!r} is missing")
    return cls(**given)


def write_config(config: object, path: Path) -> None:
    """Write a config as JSON beside weights, logs or results; replaces the file in one step."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(to_json(config), indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def read_config(cls: type[T], path: Path) -> T:
    """Read a config that `write_config` wrote.

    Raises:
        ConfigError: If the file is missing, is not JSON, or does not fit `cls`.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no config at {path}; expected a JSON file of {cls.__name__}") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON ({error}); write it again with write_config") from None
    return from_json(cls, data, path.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The environment variables that Vivace reads; see docs/env.md."""

    home: Path
    num_threads: int | None
    hub_endpoint: str | None

    @classmethod
    def read(cls) -> "Environment":
        """Read VIVACE_HOME (where pulled weights live), VIVACE_HUB_ENDPOINT and VIVACE_NUM_THREADS.

        Raises:
            ConfigError: If a variable is set to something that cannot be used.
        """
        threads = os.environ.get("VIVACE_NUM_THREADS")
        if threads is not None and (not threads.isdecimal() or int(threads) < 1):
            raise ConfigError(f"VIVACE_NUM_THREADS: got {threads!r}, expected a whole number of at least 1")
        endpoint = os.environ.get("VIVACE_HUB_ENDPOINT") or None
        if endpoint is not None and not endpoint.startswith(("http://", "https://")):
            raise ConfigError(f"VIVACE_HUB_ENDPOINT: got {endpoint!r}, expected an http or https address")
        default_home = Path.home() / ".cache" / "vivace"
        return cls(
            home=Path(os.environ.get("VIVACE_HOME") or default_home).expanduser(),
            num_threads=None if threads is None else int(threads),
            hub_endpoint=None if endpoint is None else endpoint.rstrip("/"),
        )
