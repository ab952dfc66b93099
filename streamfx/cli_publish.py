"""`streamfx publish`: cut videos into chunks and send them to a Kafka topic, or write them to folders."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

import click

from streamfx.config import KafkaSource, load_config
from streamfx.errors import ConfigError
from streamfx.source.kafka_client import create_topic
from streamfx.source.publish import Destination, FolderDestination, KafkaDestination
from streamfx.source.publish import publish as publish_streams
from streamfx.source.streams import parse_start


@click.command()
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--topic", help="Kafka topic to publish to; default: the config's source.kafka.topic.")
@click.option("--bootstrap", help="Broker addresses, host:port,…; default: the config's source.kafka.bootstrap.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Pipeline configuration whose source.kafka gives broker, topic, TLS and login.",
)
@click.option("--to", type=click.Path(path_type=Path), help="Write folders of chunks here, in place of Kafka.")
@click.option(
    "--create-topic", type=click.IntRange(1), metavar="PARTITIONS", help="First create the topic, stamped on append."
)
@click.option(
    "--chunk-s", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Length of a chunk, seconds."
)
@click.option(
    "--start", help="UTC time of the first frame (ISO 8601); default: the container's creation time, else the file's."
)
@click.option("--stream-id", help="Stream id, for one input; default: the file's name without its suffix.")
@click.option("--consent", type=click.Choice(["granted", "refused"]), help="Consent header of all chunks.")
@click.option("--realtime", is_flag=True, help="Send each chunk when a camera would have: at the pace of the video.")
@click.option("--claim-check-dir", help="Folder or URI prefix for chunks that are too large for the topic.")
def publish(
    inputs: tuple[Path, ...],
    topic: str | None,
    bootstrap: str | None,
    config: Path | None,
    to: Path | None,
    create_topic: int | None,
    chunk_s: float,
    start: str | None,
    stream_id: str | None,
    consent: Literal["granted", "refused"] | None,
    realtime: bool,
    claim_check_dir: str | None,
) -> None:
    """Cut videos into chunks that each stand for themselves and publish them, several inputs side by side.

    INPUT is a video, a folder of videos, or a folder of chunks that --to wrote, which is published as it is.
    """
    start_us = parse_start(start) if start is not None else None
    if to is not None:
        if topic or bootstrap or config or create_topic or claim_check_dir:
            raise click.UsageError("--to writes folders: it goes with none of the options for Kafka")
        destination: Destination = FolderDestination(to)
    else:
        destination = _kafka_destination(_kafka(topic, bootstrap, config), create_topic, claim_check_dir)
    with closing(destination):
        done = publish_streams(
            inputs,
            destination,
            chunk_s=chunk_s,
            start_us=start_us,
            stream_id=stream_id,
            consent=consent,
            realtime=realtime,
            progress=True,
        )
    claims = f", {done.claim_checks} of them as claim checks" if done.claim_checks else ""
    click.echo(f"published {done.chunks} chunks of {done.streams} streams ({done.media_bytes / 1e6:.1f} MB{claims})")


def _kafka(topic: str | None, bootstrap: str | None, config: Path | None) -> KafkaSource:
    known = load_config(config).source.kafka if config is not None else None
    if config is not None and known is None:
        raise ConfigError(f"{config}: expected a section source.kafka, to publish to")
    if known is not None:
        changes = {name: value for name, value in (("topic", topic), ("bootstrap", bootstrap)) if value}
        return known.model_copy(update=changes)
    if not (topic and bootstrap):
        raise click.UsageError("say where to: --topic with --bootstrap, or --config, or --to for folders")
    return KafkaSource(bootstrap=bootstrap, topic=topic)


def _kafka_destination(kafka: KafkaSource, partitions: int | None, claim_check_dir: str | None) -> Destination:
    if partitions is not None:
        create_topic(kafka, kafka.topic, partitions)
    return KafkaDestination(kafka, claim_check_dir)
