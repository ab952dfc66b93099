"""Sources of chunks: Kafka and files, behind one interface; and of consents. What Kafka needs is imported for Kafka alone."""

from __future__ import annotations

from streamfx.config.tree import Config
from streamfx.privacy.consent import ConsentFile, ConsentTable
from streamfx.source.base import OffsetGone, Source

__all__ = ["OffsetGone", "Source", "open_consents", "open_source"]


def open_source(
    config: Config, worker: int = 0, workers: int = 1, key: bytes = b"", instance_id: str | None = None
) -> Source:
    """The source that the configuration names.

    Files are divided among `workers` by their number, and the names of their topics are derived from the secret `key`.
    With Kafka the consumer group divides the partitions, and `instance_id` makes the member static. Raises SourceError
    if the source cannot be used.
    """
    if config.source.kafka is not None:
        from streamfx.source.kafka import KafkaSource

        return KafkaSource(config.source.kafka, max_records=config.source.queue_chunks, instance_id=instance_id)
    from streamfx.source.files import FilesSource

    assert config.source.files is not None
    media = config.media
    return FilesSource(
        config.source.files, worker, workers, key, media.video_track, media.sound_track, media.max_chunk_s
    )


def open_consents(config: Config) -> ConsentTable | None:
    """The consent table that the configuration names; None where it names none. PrivacyRefusal where the table cannot be
    read or understood, BrokerUnavailable where no broker answers."""
    section = config.privacy
    if section.consent_file is not None:
        return ConsentFile(section.consent_file)
    if section.consent_topic is not None and config.source.kafka is not None:
        from streamfx.source.consent_topic import ConsentTopic

        return ConsentTopic(config.source.kafka, section.consent_topic)
    return None
