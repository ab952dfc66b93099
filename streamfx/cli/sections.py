"""One section of the configuration from `--set` alone, for commands that take a dataset in place of a configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from streamfx.config.section import Section

    AnySection = TypeVar("AnySection", bound=Section)


def section_of(overrides: tuple[str, ...], name: str, of: type[AnySection]) -> AnySection:
    """The section `name` of the overrides alone. ConfigError where they name another section, or are wrong."""
    from pydantic import ValidationError

    from streamfx.config.messages import sentences
    from streamfx.config.yaml import apply_override
    from streamfx.errors import ConfigError

    tree: dict[str, Any] = {name: {}}
    for override in overrides:
        apply_override(tree, override)
    if others := sorted(tree.keys() - {name}):
        raise ConfigError(
            f"--set {others[0]}: with a dataset, only keys of the section `{name}` are taken; give the configuration in its "
            "place"
        )
    try:
        return of.model_validate(tree[name])
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error, of, name))) from error
