"""Puts a worker's parts together from the configuration: source, privacy, operators, dataset, dead letters."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from streamfx.config.tree import Config
from streamfx.errors import ConfigError, ModelError
from streamfx.media.decode import open_decoder
from streamfx.models.base import ServedModel
from streamfx.models.contract import SoundInput
from streamfx.operator import Operator, OperatorContext, RedactOperator, ScoreOperator, columns_of, models_of
from streamfx.pipeline import check_pipeline
from streamfx.privacy.consent import ConsentTable
from streamfx.privacy.key import load_key
from streamfx.privacy.pictures import Pictures
from streamfx.privacy.pseudonyms import Pseudonyms
from streamfx.privacy.rows import Rows
from streamfx.records import Partition
from streamfx.runtime.line import LineParts
from streamfx.runtime.metrics import Metrics
from streamfx.runtime.reload import Active
from streamfx.runtime.totals import Totals
from streamfx.runtime.traces import open_traces
from streamfx.serving.client import open_model, retune_models
from streamfx.serving.contract import ModelClient
from streamfx.sink.commit import PartitionWriter
from streamfx.sink.dataset import Dataset
from streamfx.sink.identity import Identity
from streamfx.sink.place import open_place
from streamfx.source import Source, open_consents, open_source
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.dead_letter import DeadLetters

log = logging.getLogger(__name__)

DETECTION_THREADS = 1
"""Fixed, since detection decides rows and is bit-exact only for a fixed number of threads; workers are how it
scales."""


@dataclass(slots=True)
class Engine:
    """Everything a worker holds. `parts` are those of no line yet; each line gets operators of its own."""

    active: Active
    source: Source
    dataset: Dataset
    parts: LineParts
    context: OperatorContext
    models: Mapping[str, Mapping[str, str]]
    """Operator -> what its `provenance()` says, of those that name a model."""
    consents: ConsentTable | None = None

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.active.config

    def reconfigure(self, config: Config) -> None:
        """Go on with a configuration that differs in live knobs alone; may be called from any thread."""
        self.active.config = config
        retune_models(config.serving)

    def new_parts(self) -> LineParts:
        """Parts for one more line, with fresh operators.

        Raises ModelError if their models are not those of the start: the versions in rows and footers were fixed then.
        """
        operators = _make_operators(self.config, self.context)
        models = models_of(operators)
        for name in sorted(models.keys() | self.models.keys()):
            if models.get(name) != self.models.get(name):
                for operator in operators.values():
                    operator.close()
                raise ModelError(
                    f"{name}: {_named(models.get(name))} answers now, and {_named(self.models.get(name))} did "
                    "when this run started; start the run again"
                )
        return replace(self.parts, operators=operators)

    def writer(self, partition: Partition) -> PartitionWriter:
        """The writer of a partition's log, which knows how many partitions the topic has by now."""
        return self.dataset.partition(partition, self.source.partition_counts().get(partition.topic))

    def close(self) -> None:
        """Release what no line owns."""
        for operator in self.parts.operators.values():
            operator.close()
        self.parts.dead_letters.close()
        self.parts.traces.close()
        if self.consents is not None:
            self.consents.close()


def build_engine(config: Config, index: int, workers: int, run_range: str | None = None) -> Engine:
    """Open everything a worker needs; raises the first thing that is wrong, in words for the operator.

    `run_range` says in words what part of the input goes into the dataset, None: all of it.
    """
    key = load_key(config)
    pseudonyms = Pseudonyms(config.privacy.salt_period_s, key)
    active = Active(config)

    def open_now(model: type[ServedModel], weights: str) -> ModelClient:
        return open_model(model, weights, active.config.serving)

    context = OperatorContext(
        open_model=open_now,
        pseudonyms=pseudonyms,
        pictures=Pictures(config.privacy),
        threads=DETECTION_THREADS,
        sample_period_us=config.media.sample_period_us,
    )
    operators = _make_operators(config, context)
    columns = [column for operator in operators.values() for column in columns_of(operator)]
    models = models_of(operators)
    versions = {name: model["model_version"] for name, model in models.items()}
    consents = open_consents(config)
    rows = Rows(config.privacy, pseudonyms, config.config_id, columns, versions, consents)
    source = open_source(config, worker=index, workers=workers, key=key)
    if config.source.kafka and not source.stamped_on_append:
        log.warning(
            "topic %s is not stamped on append (message.timestamp.type=LogAppendTime), so streams close only at their "
            "end header and never because they fall silent (windows.idle_s)",
            config.source.kafka.topic,
        )
    identity = Identity(
        cluster=source.cluster,
        # Files come and go; a topic does not.
        topics=dict(source.topic_ids()) if config.source.kafka else {},
        partitions=dict(source.partition_counts()) if config.source.kafka else {},
        pipeline=tuple(config.pipeline),
        group=config.source.kafka.group if config.source.kafka else "files",
        run_range=run_range,
        sensitive=config.privacy.sensitive.kind if config.privacy.sensitive else None,
        key_digest=pseudonyms.key_digest,
    )
    dataset = Dataset.open(
        config.sink.location,
        identity,
        config.config_id,
        columns,
        footer=_footer(rows, models),
        with_model=tuple(models),
        films=any(isinstance(operator, RedactOperator) and operator.films for operator in operators.values()),
        compression=config.sink.compression,
        fs=open_place(config.sink.path, config.sink.s3),
    )
    port = config.runtime.metrics_port
    # On one machine the supervisor has a port of the range as well.
    metrics = Metrics(range(port, port + workers + 1) if port else range(0))
    for name, model in models.items():
        metrics.model.labels(name, model["model"], model["model_version"]).set(1)
    parts = LineParts(
        active=active,
        pseudonyms=pseudonyms,
        rows=rows,
        decoder=open_decoder(config.media),
        claims=ClaimCheckReader(config.source.claim_check),
        operators=operators,
        dead_letters=DeadLetters(config),
        metrics=metrics,
        totals=Totals(metrics),
        stamped_on_append=source.stamped_on_append,
        traces=open_traces(config.tracing),
    )
    return Engine(active, source, dataset, parts, context, models, consents)


def _make_operators(config: Config, context: OperatorContext) -> dict[str, Operator]:
    """By name, in the pipeline's order. Those with models come first into being, since windows hold what the models
    hear, and the redact operator before what finds the faces, which must know whether pictures leave."""
    classes = check_pipeline(config.pipeline)

    def made(role: type[Operator]) -> dict[str, Operator]:
        names = [name for name in config.pipeline if issubclass(classes[name], role) and name not in operators]
        return {name: classes[name](config.operators[name], context) for name in names}

    operators: dict[str, Operator] = {}
    operators |= made(ScoreOperator)
    context = replace(context, sound=common_sound(operators))
    operators |= made(RedactOperator)
    leave = any(isinstance(one, RedactOperator) and one.pictures for one in operators.values())
    context = replace(context, pictures_leave=leave)
    operators |= made(Operator)
    return {name: operators[name] for name in config.pipeline}


def common_sound(scores: Mapping[str, Operator]) -> SoundInput | None:
    """What the score operators hear, which is one thing for all, since a window has one filter bank; None where none
    hears.

    ConfigError where they differ.
    """
    wanted = {name: one.sound for name, one in scores.items() if isinstance(one, ScoreOperator) and one.sound}
    if len(set(wanted.values())) > 1:
        raise ConfigError(
            "pipeline: the models must all hear the same sound, and a window has one filter bank; got "
            + ", ".join(f"{name}: {sound.channels} at {sound.rate_hz or 'own'} Hz" for name, sound in wanted.items())
            + "; run them as two pipelines, each with a dataset of its own"
        )
    return next(iter(wanted.values()), None)


def _named(model: Mapping[str, str] | None) -> str:
    return f"{model['model']} {model['model_version']}" if model else "no model"


def _footer(rows: Rows, models: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return rows.footer() | {f"{name}.{key}": value for name, model in models.items() for key, value in model.items()}
