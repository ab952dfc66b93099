"""Where chunks come from: Kafka or files, behind one face."""

from __future__ import annotations

from streamfx.config.tree import Config
from streamfx.source.base import OffsetGone, Source

__all__ = ["OffsetGone", "Source", "open_source"]


def open_source(
    config: Config, worker: int = 0, workers: int = 1, key: bytes = b"", instance_id: str | None = None
) -> Source:
    """The source that the configuration names.

    Files are shared out to `workers` by their number, and their topics' names come from the secret `key`; with Kafka the
    group shares out, and `instance_id` makes the member static. Raises SourceError where it cannot be used.
    """
    if config.source.kafka is not None:
        from streamfx.source.kafka import KafkaSource

        return KafkaSource(config.source.kafka, max_records=config.source.queue_chunks, instance_id=instance_id)
    from streamfx.source.files import FilesSource

    assert config.source.files is not None
    media = config.media
    return FilesSource(config.source.files, worker, workers, key, media.video_track, media.sound_track)
