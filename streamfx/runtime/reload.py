"""The configuration of a run that goes on: what may change of it, and the file that is looked at again and again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import Counter
from pydantic import BaseModel

from streamfx.config.messages import section_of
from streamfx.config.section import is_reloadable
from streamfx.config.tree import Config
from streamfx.errors import ConfigError
from streamfx.pipeline import load_config

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Active:
    """The configuration that a worker runs with now. It is replaced as a whole, so all who read it see one or the
    other."""

    config: Config


@dataclass(frozen=True, slots=True)
class Change:
    """A value that differs: its path in the tree, the values as JSON has them, and whether it may change while
    running."""

    path: str
    old: Any
    new: Any
    live: bool
    shown: tuple[str, str]
    """Both as they may be shown: what the environment held stays out of logs."""

    def __str__(self) -> str:
        return f"{self.path} {self.shown[0]} -> {self.shown[1]}"


def changes(old: Config, new: Config) -> list[Change]:
    """What differs, in the order of the tree. Operators' sections decide rows, so nothing in them is live."""
    found = _differences("", _tree(old), _tree(new))
    return [
        Change(path, before, after, _is_reloadable(path), (_shown(old, path, before), _shown(new, path, after)))
        for path, before, after in found
    ]


class ConfigFile:
    """The file that a run is started with, with its `--set` overrides, and `active`, the configuration that runs."""

    def __init__(self, file: Path, overrides: Sequence[str] = ()):
        """Read it for the first time. Raises ConfigError with one sentence for each wrong path."""
        self._file, self._overrides = file, tuple(overrides)
        # In this order: what changes in between is seen by the first look.
        self._judged = self._last = self._read()
        self.active = load_config(file, overrides)

    def look(self, reloads: Counter) -> Config | None:
        """The configuration to go on with where live knobs have changed, else None; call it every second or so.

        Whatever else the file says now is refused as a whole, and counted in `reloads` by outcome, once each time that
        it changes. Its content is what counts, so a link that is swapped is seen like a file that is written.
        """
        content = self._read()
        # A file that is being written may be seen in half: it counts once it is found the same twice.
        settled, self._last = content == self._last, content
        if not settled or content == self._judged:
            return None
        self._judged = content
        try:
            config = load_config(self._file, self._overrides)
        except ConfigError as error:
            reloads.labels("invalid").inc()
            problems = "; ".join(error.problems)
            log.error("the changed configuration is wrong, the run goes on as it was: %s", problems)
            return None
        changed = changes(self.active, config)
        if not changed:
            return None
        fixed = [str(change) for change in changed if not change.live]
        if fixed:
            reloads.labels("refused").inc()
            log.error(
                "the changed configuration is not taken, the run goes on as it was; it takes a restart to change %s",
                ", ".join(fixed),
            )
            return None
        self.active = config
        reloads.labels("applied").inc()
        log.info("the configuration has changed: %s", ", ".join(map(str, changed)))
        return config

    def _read(self) -> bytes | None:
        try:
            return self._file.read_bytes()
        except OSError:
            return None


def _shown(config: Config, path: str, value: Any) -> str:
    """The value as JSON; as it is written in the file where it holds environment variables."""
    text = config.written.get(path)
    if text is None and any(below.startswith(f"{path}.") for below in config.written):
        return "(with environment variables)"
    return json.dumps(value if text is None else text)


def _tree(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json") | {
        name: section.model_dump(mode="json") for name, section in config.operators.items()
    }


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _differences(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif old != new:
        yield path, old, new


def _is_reloadable(path: str) -> bool:
    section: type[BaseModel] | None = Config
    live = False
    for name in path.split("."):
        if section is None or name not in section.model_fields:
            return False
        field = section.model_fields[name]
        section, live = section_of(field.annotation), is_reloadable(field)
    return live
