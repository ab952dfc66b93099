"""When a column that tells sex, age, skin or origin, or judges beauty, may leave.

The rule, in the order in which it is checked:

1. Without the section `privacy.sensitive`, which names one kind and why it is needed, no such column leaves.
2. Columns of one kind only: what tells age never stands beside what tells sex, skin, origin or beauty. A few of these
   together single people out in a crowd (Sweeney, Simple Demographics Often Identify People Uniquely, 2000).
3. At most MAX_TOGETHER of them, and each is yes or no: so they part people into at most eight sorts.
4. Skin and origin only in research: a system that sorts people by their faces to deduce race is prohibited in the EU
   (AI Act, Article 5(1)(g)).
"""

from __future__ import annotations

from collections.abc import Sequence

from streamfx.columns import Column
from streamfx.config.privacy import PrivacySection
from streamfx.errors import PrivacyRefusal

MAX_TOGETHER = 3
"""Sensitive columns of one pipeline."""
_RESEARCH_ONLY = ("skin", "origin")


def check_sensitive(columns: Sequence[Column], section: PrivacySection) -> None:
    """Raise PrivacyRefusal, which says what to change, unless the columns of a pipeline keep the rule."""
    sensitive = [column for column in columns if column.sensitive]
    if not sensitive:
        return
    names = ", ".join(column.name for column in sensitive)
    kinds = sorted({column.sensitive for column in sensitive if column.sensitive})
    if section.sensitive is None:
        raise PrivacyRefusal(
            f"{names}: sensitive ({', '.join(kinds)}); expected privacy.sensitive with a kind and the purpose that needs "
            "it, got none. Give it, or leave these columns out"
        )
    strange = [column.name for column in sensitive if column.sensitive != section.sensitive.kind]
    if strange:
        raise PrivacyRefusal(
            f"{', '.join(strange)}: privacy.sensitive.kind is {section.sensitive.kind!r}, and sensitive columns of "
            f"another kind never leave beside it, since together they single people out; got {', '.join(kinds)}"
        )
    if len(sensitive) > MAX_TOGETHER:
        raise PrivacyRefusal(
            f"{names}: at most {MAX_TOGETHER} sensitive columns may leave together, got {len(sensitive)}; choose those "
            "that the purpose needs"
        )
    graded = [column.name for column in sensitive if column.kind != "bool"]
    if graded:
        raise PrivacyRefusal(f"{', '.join(graded)}: a sensitive column is of kind bool: a graded one tells too much")
    if section.sensitive.kind in _RESEARCH_ONLY and section.deployment_context != "research":
        raise PrivacyRefusal(
            f"{names}: what tells {section.sensitive.kind} leaves only where privacy.deployment_context is `research` "
            f"(EU AI Act, Article 5(1)(g)), got {section.deployment_context!r}"
        )
