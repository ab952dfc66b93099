"""Checks of a configuration beyond its types: whether the values go together, and whether what they name is on this
machine.

`streamfx config check` reports all of it; a run refuses at its start what would stop it later.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamfx.config.findings import Finding, look_at_file, look_at_folder, missing, wrong
from streamfx.config.secrets import read_secret
from streamfx.config.tree import Config
from streamfx.errors import ConfigError, ModelError, PrivacyRefusal, SourceError, StreamfxError, did_you_mean
from streamfx.pipeline import find_operator

log = logging.getLogger(__name__)

Look = Callable[[Config], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, and in words what was looked at and what was not."""

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...]
    left_out: tuple[str, ...]

    def of(self, kind: str) -> list[str]:
        """The findings of one kind, as sentences."""
        return [str(finding) for finding in self.findings if finding.kind == kind]


def check(config: Config, deep: bool = False) -> Report:
    """Look at everything but servers; with `deep`, load the model and ask each server too."""
    from streamfx.runtime.preflight_servers import DEEP_LOOKS, servers

    findings = [*_here(config), *_inputs_that_open(config)]
    looked = ["every value, and the values together", *_things(config)]
    left = [] if deep else servers(config)
    if deep:
        # What is wrong or missing already fails once more, and slowly.
        known = {finding.path for finding in findings if finding.kind != "warning"}
        for look in DEEP_LOOKS:
            findings += [finding for finding in look(config) if finding.path not in known]
        looked += servers(config)
    left += ["free ports and disk space", "whether the dataset that is there is this run's"]
    return Report(tuple(findings), tuple(looked), tuple(left))


def refuse(config: Config) -> None:
    """Raise ConfigError with all that `check` would report of values, and of this machine where the workers run on
    it."""
    elsewhere = config.runtime.engine == "ray" and config.runtime.ray_address is not None
    findings = list(_here(config))
    for finding in findings:
        if finding.kind == "warning":
            log.warning("%s", finding)
    stops = [str(f) for f in findings if f.kind == "wrong" or (f.kind == "missing" and not elsewhere)]
    if stops:
        # One is a sentence on one line, several are a list.
        shown = f" {stops[0]}" if len(stops) == 1 else "".join(f"\n  {stop}" for stop in stops)
        raise ConfigError(f"this configuration cannot run here:{shown}", stops)


def _here(config: Config) -> Iterator[Finding]:
    privacy: tuple[Look, ...] = (_pseudonym_key, _sensitive, _audited, _consents)
    for look in (_together, *privacy, _secrets, _inputs, _folders, _packages, _models, _operators):
        yield from look(config)


def _things(config: Config) -> list[str]:
    things = ["the pseudonym key", "files of logins and certificates", "folders that are written to", "packages"]
    if config.source.files:
        things.append("the input files")
    if config.privacy.audit:
        things.append("the audit's report (whether the columns pass it is checked once their models are loaded)")
    things += [f"what the operator {name} names" for name in config.pipeline if _looks(name)]
    return [f"on this machine: {', '.join(things)}"]


def _looks(name: str) -> bool:
    from streamfx.operator import Operator

    return find_operator(name).look.__func__ is not Operator.look.__func__  # type: ignore[attr-defined]


def _together(config: Config) -> Iterator[Finding]:
    """Values that are right one by one and cannot work with each other."""
    from streamfx.source.claim_check import ClaimCheckReader
    from streamfx.source.streams import parse_start

    files, kafka, letters = config.source.files, config.source.kafka, config.dead_letter
    if files and files.chunk_s > config.media.max_chunk_s:
        yield wrong(
            "source.files.chunk_s",
            f"chunks of {files.chunk_s:g} s are all longer than media.max_chunk_s "
            f"{config.media.max_chunk_s:g}, so none could "
            "be decoded; shorten them or raise max_chunk_s",
        )
    if files and files.start is not None:
        try:
            parse_start(files.start)
        except ConfigError as error:
            yield wrong("source.files.start", str(error).removeprefix("start: "))
    if letters.topic and kafka is None:
        yield wrong(
            "dead_letter.topic", "needs source.kafka, whose broker it is on; with source.files give dead_letter.path"
        )
    if letters.topic and kafka and letters.topic == kafka.topic:
        yield wrong(
            "dead_letter.topic", f"{letters.topic} is the topic that is read, so dead letters would be read as chunks"
        )
    try:
        ClaimCheckReader(config.source.claim_check)
    except ConfigError as error:
        yield wrong("source.claim_check.allowed_prefixes", str(error).removeprefix("claim check: "))


def _pseudonym_key(config: Config) -> Iterator[Finding]:
    from streamfx.privacy.key import KEY_BYTES_MIN, key_file

    section = config.privacy
    try:
        file = key_file(config)
    except ConfigError as error:
        yield wrong("privacy.stream_id_key_file", error)
        return
    if section.stream_id_key_env:
        path = "privacy.stream_id_key_env"
        if not os.environ.get(section.stream_id_key_env):
            yield missing(path, f"the environment variable {section.stream_id_key_env} is not set")
        elif len(os.environ[section.stream_id_key_env].encode()) < KEY_BYTES_MIN:
            yield wrong(
                path, f"the key has less than {KEY_BYTES_MIN} bytes; make one with `head -c 32 /dev/urandom | base64`"
            )
        return
    path = "privacy.stream_id_key_file"
    make = "make one with `head -c 32 /dev/urandom | base64 > FILE; chmod 600 FILE`"
    if file is None:
        yield wrong(path, f"a Kafka run needs a pseudonym key, and none is named; {make}; all workers need the same")
        return
    if not os.path.exists(file):
        if config.source.kafka:
            yield missing(
                path, f"there is no file {file}, and a Kafka run makes no key; {make}; all workers need the same"
            )
        else:
            yield from look_at_folder(path, file.parent)
        return
    yield from look_at_file(path, file, "the pseudonym key")
    if os.path.isfile(file) and os.access(file, os.R_OK):
        if len(file.read_bytes().strip()) < KEY_BYTES_MIN:
            yield wrong(path, f"the key in {file} has less than {KEY_BYTES_MIN} bytes; {make}")
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & stat.S_IROTH:
            yield Finding(
                "warning", path,
                f"{file} can be read by every user of this machine (mode {mode:04o}), and whoever has it can undo the "
                f"pseudonyms: chmod 600 {file}",
            )  # fmt: skip


def _secrets(config: Config) -> Iterator[Finding]:
    from streamfx.source.dead_letter import encryption_key

    kafka = config.source.kafka
    if kafka:
        section = "source.kafka.security"
        security = kafka.security
        for name, what in (
            ("ca_file", "the certificate of an authority"),
            ("cert_file", "a client certificate"),
            ("key_file", "the client certificate's key"),
        ):
            pem: Path | None = getattr(security, name)
            yield from look_at_file(f"{section}.{name}", pem, f"{what}, as PEM")
            if pem and security.protocol in ("PLAINTEXT", "SASL_PLAINTEXT"):
                yield Finding(
                    "warning", f"{section}.{name}", f"protocol {security.protocol} has no TLS, so it is not used"
                )
        if security.protocol.startswith("SASL"):
            yield from _secret(f"{section}.password", security.password_file, security.password_env)
    if config.serving.backend == "triton":
        yield from look_at_file(
            "serving.triton.ca_file", config.serving.triton.ca_file, "the certificate of an authority, as PEM"
        )
    where = config.dead_letter.encryption_key
    if where:
        kind, _, name = where.partition(":")
        file, env = (None, name) if kind == "env" else (Path(name), None)
        found = list(_secret("dead_letter.encryption_key", file, env, suffix=False))
        yield from found
        try:
            if not found:
                encryption_key(where)
        except ConfigError as error:
            yield wrong("dead_letter.encryption_key", error)


def _secret(path: str, file: Path | None, env: str | None, suffix: bool = True) -> Iterator[Finding]:
    """Whether a secret is there; its content is never shown."""
    if env:
        named = f"{path}_env" if suffix else path
        if not os.environ.get(env):
            yield missing(named, f"the environment variable {env} is not set")
        return
    named = f"{path}_file" if suffix else path
    found = list(look_at_file(named, file, "a secret"))
    yield from found
    if not found and not read_secret(file, None, named):
        yield wrong(named, f"the file {file} is empty; expected a secret")


def _inputs(config: Config) -> Iterator[Finding]:
    """Whether inputs are there; they are not opened."""
    from streamfx.shipped import shipped_clip

    for path in config.source.files.paths if config.source.files else ():
        place = shipped_clip(path)
        if not os.path.exists(place):
            yield missing("source.files.paths", f"{path}: there is no such file or folder")
        elif not os.access(place, os.R_OK):
            yield missing("source.files.paths", f"{path} may not be read by this user")


def _inputs_that_open(config: Config) -> Iterator[Finding]:
    """Whether inputs that are there hold video."""
    from streamfx.source.inputs import find_streams

    files = config.source.files
    if files is None or any(_inputs(config)):
        return
    try:
        find_streams([Path(path) for path in files.paths], files.chunk_s)
    except (SourceError, ConfigError) as error:
        yield wrong("source.files.paths", error)


def _folders(config: Config) -> Iterator[Finding]:
    yield from look_at_folder("sink.path", config.sink.folder)
    yield from look_at_folder("dead_letter.path", config.dead_letter.path)
    # Prefixes of other storage are asked by --deep.
    for prefix in config.source.claim_check.allowed_prefixes:
        if "://" not in prefix and not os.path.isdir(prefix):
            yield missing("source.claim_check.allowed_prefixes", f"there is no folder {prefix}")


def _packages(config: Config) -> Iterator[Finding]:
    """Whether what the values need is installed."""
    wanted = {
        "runtime.engine": ("ray", "streamfx") if config.runtime.engine == "ray" else None,
        "sink.path": ("obstore", "streamfx[s3]") if config.sink.folder is None else None,
        "tracing.endpoint": ("opentelemetry.sdk", "streamfx[otel]") if config.tracing.endpoint else None,
        "serving.backend": ("tritonclient", "streamfx") if config.serving.backend == "triton" else None,
    }
    for path, need in wanted.items():
        if need and not _installed(need[0]):
            yield missing(path, f"{need[0]} is not installed: pip install '{need[1]}'")
    if config.media.backend not in ("auto", "pyav"):
        from streamfx.media.decode import open_decoder

        try:
            open_decoder(config.media)
        except StreamfxError as error:
            yield missing("media.backend", error)
    if config.serving.backend == "in_process" and config.serving.device == "cuda":
        from streamfx.models.base import pick_device

        try:
            pick_device("cuda")
        except ModelError as error:
            yield missing("serving.device", str(error).removeprefix("device: "))


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _models(config: Config) -> Iterator[Finding]:
    """Whether the models that have settings of their own are models that the pipeline asks."""
    asked = {
        model.spec.name
        for name in config.pipeline
        for model, _ in find_operator(name).models(config.operators[name]).values()
    }
    for name in config.serving.models:
        if name not in asked:
            known = ", ".join(sorted(asked)) or "none"
            yield wrong(
                f"serving.models.{name}",
                f"no operator of the pipeline asks a served model {name!r}; they ask: "
                f"{known}{did_you_mean(name, asked)}",
            )


def _sensitive(config: Config) -> Iterator[Finding]:
    """Whether the sensitive columns of all operators may leave together."""
    from streamfx.operator import ScoreOperator
    from streamfx.privacy.sensitive import check_sensitive

    columns = [
        column
        for name in config.pipeline
        if issubclass(operator := find_operator(name), ScoreOperator)
        for column in operator.sensitive_columns(config.operators[name])
    ]
    try:
        check_sensitive(columns, config.privacy)
    except PrivacyRefusal as error:
        yield wrong("privacy.sensitive", error)


def _consents(config: Config) -> Iterator[Finding]:
    """Whether the consent file can be read, and whether the consent topic has brokers and is none that is read or written
    otherwise."""
    from streamfx.privacy.consent import ConsentFile

    if config.privacy.consent_file is not None:
        try:
            ConsentFile(config.privacy.consent_file)
        except PrivacyRefusal as error:
            yield wrong("privacy.consent_file", error)
    topic, kafka = config.privacy.consent_topic, config.source.kafka
    if topic is not None and kafka is not None and topic in (kafka.topic, config.dead_letter.topic):
        yield wrong(
            "privacy.consent_topic", f"{topic} is the topic of chunks or of dead letters; expected one of its own"
        )


def _audited(config: Config) -> Iterator[Finding]:
    """Whether the report that columns must have passed is one. Which columns there will be, only their models say, so
    that they pass is checked by the maker of rows."""
    from streamfx.privacy.audited import doubts, read_audit

    section = config.privacy.audit
    if section is None:
        return
    found = list(look_at_file("privacy.audit.report", section.report, "the report of `streamfx audit --out`"))
    yield from found
    if found:
        return
    try:
        audit = read_audit(section.report)
    except PrivacyRefusal as error:
        yield wrong("privacy.audit.report", error)
        return
    for doubt in doubts(audit, section.max_lift):
        yield Finding("warning", "privacy.audit", doubt)


def _operators(config: Config) -> Iterator[Finding]:
    for name in config.pipeline:
        yield from find_operator(name).look(config.operators[name], config)
