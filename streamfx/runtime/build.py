"""Puts a worker's parts together from the configuration: source, privacy, operators, dataset, dead letters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streamfx.columns import MAX_COLUMNS, Column
from streamfx.config.tree import Config
from streamfx.errors import ConfigError, PrivacyRefusal
from streamfx.media.decode import open_decoder
from streamfx.models.base import ServedModel
from streamfx.models.contract import SoundInput
from streamfx.operator import Operator, OperatorContext, ScoreOperator
from streamfx.pipeline import check_pipeline
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
from streamfx.source import Source, open_source
from streamfx.source.claim_check import ClaimCheckReader
from streamfx.source.dead_letter import DeadLetters

log = logging.getLogger(__name__)

DETECTION_THREADS = 1
"""Fixed, since detection decides rows and is bit-exact only for a fixed number of threads; workers are how it scales."""


@dataclass(slots=True)
class Engine:
    """Everything a worker holds. `parts` are those of no line yet; each line gets operators of its own."""

    active: Active
    source: Source
    dataset: Dataset
    parts: LineParts
    context: OperatorContext

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.active.config

    def reconfigure(self, config: Config) -> None:
        """Go on with a configuration that differs in live knobs alone; may be called from any thread."""
        self.active.config = config
        retune_models(config.serving)

    def new_parts(self) -> LineParts:
        """Parts for one more line, with fresh operators."""
        return replace(self.parts, operators=_make_operators(self.config, self.context))

    def writer(self, partition: Partition) -> PartitionWriter:
        """The writer of a partition's log, which knows how many partitions the topic has by now."""
        return self.dataset.partition(partition, self.source.partition_counts().get(partition.topic))

    def close(self) -> None:
        """Release what no line owns."""
        for operator in self.parts.operators.values():
            operator.close()
        self.parts.dead_letters.close()
        self.parts.traces.close()


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
    columns = [column for operator in operators.values() for column in _columns_of(operator)]
    rows = Rows(config.privacy, pseudonyms, config.config_id, columns)
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
    )
    dataset = Dataset.open(
        config.sink.location,
        identity,
        config.config_id,
        columns,
        footer=_footer(rows, operators),
        compression=config.sink.compression,
        fs=open_place(config.sink.path, config.sink.s3),
    )
    port = config.runtime.metrics_port
    # On one machine the supervisor has a port of the range as well.
    metrics = Metrics(range(port, port + workers + 1) if port else range(0))
    _tell_models(metrics, operators)
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
    return Engine(active, source, dataset, parts, context)


def _make_operators(config: Config, context: OperatorContext) -> dict[str, Operator]:
    """By name, in the pipeline's order. Those with models come first into being, since windows hold what the models hear."""
    classes = check_pipeline(config.pipeline)
    scores = {
        name: classes[name](config.operators[name], context)
        for name in config.pipeline
        if issubclass(classes[name], ScoreOperator)
    }
    context = replace(context, sound=common_sound(scores))
    return {name: scores.get(name) or classes[name](config.operators[name], context) for name in config.pipeline}


def common_sound(scores: Mapping[str, Operator]) -> SoundInput | None:
    """What the score operators hear, which is one thing for all, since a window has one filter bank; None where none hears.

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


def _columns_of(operator: Operator) -> Sequence[Column]:
    if not isinstance(operator, ScoreOperator):
        return ()
    columns = operator.columns
    if len(columns) > MAX_COLUMNS:
        raise PrivacyRefusal(
            f"operator {operator.name} declares {len(columns)} columns; at most {MAX_COLUMNS} are allowed"
        )
    return columns


def _tell_models(metrics: Metrics, operators: dict[str, Operator]) -> None:
    for name, operator in operators.items():
        model = operator.provenance() if isinstance(operator, ScoreOperator) else {}
        if model:
            metrics.model.labels(name, model.get("model", ""), model.get("model_version", "")).set(1)


def _footer(rows: Rows, operators: dict[str, Operator]) -> dict[str, str]:
    models = {
        f"{name}.{key}": value
        for name, operator in operators.items()
        if isinstance(operator, ScoreOperator)
        for key, value in operator.provenance().items()
    }
    return rows.footer() | models
