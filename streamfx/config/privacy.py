"""The configuration's section `privacy`: purpose, pseudonyms and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamfx.columns import Sensitive
from streamfx.config.section import Section, TopicName, VariableName, Word


class Exemption(Section):
    """Why emotion inference is lawful where it is otherwise refused."""

    kind: Literal["medical", "safety"]
    """The two exemptions of Article 5(1)(f) of the EU AI Act."""
    reference: Annotated[Word, Field(min_length=3)]
    """The document that justifies it; written into every file."""


class SensitiveColumns(Section):
    """Why columns that tell sex, age, skin or origin, or judge beauty, are written, and which kind of them."""

    kind: Sensitive
    """The one kind that is written: `sex`, `age`, `skin`, `origin` (ethnicity) or `beauty`. Columns of two kinds never
    leave beside each other."""
    purpose: Annotated[Word, Field(min_length=20)]
    """Why this kind is needed, in a sentence; written into every file."""


class Audited(Section):
    """The audit of published rows that columns must have passed before more of them leave."""

    report: Path
    """`audit.json`, as `streamfx audit DATASET --out DIR` writes it, of a dataset with the columns that this pipeline
    writes. A run that cannot read it, or whose columns it has not measured, is refused."""
    max_lift: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Most by which a group of columns may tell streams or tracks better than guessing does: the upper end of the lift's
    95 % interval. A run is refused columns above it."""


class PrivacySection(Section):
    """Purpose, pseudonyms and masks. There is no switch that turns redaction off."""

    purpose: Word
    """Why this processing happens; written into every file and row."""
    deployment_context: Literal[
        "retail",
        "public_space",
        "customer_service",
        "research",
        "health",
        "media",
        "road",
        "home",
        "workplace",
        "education",
    ]
    """Where the cameras are. `workplace` and `education` are refused without an exemption."""
    exemption: Exemption | None = None
    """Medical or safety exemption for `workplace` and `education`."""
    sensitive: SensitiveColumns | None = None
    """What allows sensitive columns, such as those of `attributes.sensitive`. Without it none leaves."""
    audit: Audited | None = None
    """Which columns an audit must have measured, and how little they may tell. Without it none is asked for."""
    stream_id_key_file: Path | None = None
    """File with the secret key of the pseudonyms (at least 16 bytes). A files run makes one if it is absent."""
    stream_id_key_env: VariableName | None = None
    """Environment variable with the secret key, in place of the file."""
    audit_file: Path | None = None
    """File to which `streamfx pseudonym` appends who asked for a stream's pseudonyms, and why; never in the dataset.
    Default: beside the dataset's folder, `<folder>.audit.jsonl`; for a dataset in an object store it must be given."""
    salt_period_s: Annotated[int, Field(ge=0)] = 86_400
    """Seconds of event time after which a stream's and a track's pseudonym changes; 0: never."""
    consent_required: bool = False
    """Refuse chunks of which neither their `streamfx-consent` header nor the consent table says that they may be used.
    What either calls refused is always refused."""
    consent_file: Path | None = None
    """Consent table: a CSV file `stream,consent,from,until` (docs/privacy.md). It is read again whenever it changes; while
    it cannot be read, nothing is processed."""
    consent_topic: TopicName | None = None
    """Consent table, in place of the file: a compacted topic on the brokers of `source.kafka`, keyed by stream id
    (docs/privacy.md). It is followed; while the brokers do not say how it ends, nothing is processed."""
    retention_days: Annotated[float | None, Field(gt=0, le=36_500)] = None
    """Days of event time for which rows may be kept: what `streamfx retain` erases is older. `config check --deep`
    warns where the input topic keeps its video for longer."""
    mask_dilation: Annotated[float, Field(ge=1.0, le=3.0)] = 1.4
    """Factor by which a face's box grows before it is filled."""
    mask_hold_s: Annotated[float, Field(ge=0, le=10)] = 0.5
    """Seconds a mask is held before and after a detection."""

    @model_validator(mode="after")
    def _lawful_and_keyed(self) -> Self:
        if self.deployment_context in ("workplace", "education") and self.exemption is None:
            raise ValueError(
                f"deployment_context {self.deployment_context!r}: inferring emotions there is prohibited in "
                "the EU (AI Act, "
                "Article 5(1)(f)) except for medical or safety reasons; give exemption.kind and exemption.reference"
            )
        if self.stream_id_key_file and self.stream_id_key_env:
            raise ValueError("give stream_id_key_file or stream_id_key_env, not both")
        if self.consent_file and self.consent_topic:
            raise ValueError("give consent_file or consent_topic, not both: one table says who has agreed")
        return self
