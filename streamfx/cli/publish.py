"""`streamfx publish`: cut videos or a live input into chunks and send them to a Kafka topic, or write them to
folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from streamfx.cli.left_out import EXIT_CODES, exit_if_left_out, say_left_out
from streamfx.cli.values import FiniteRange, set_option
from streamfx.errors import ConfigError
from streamfx.shipped import named_config
from streamfx.terminal import INTERRUPTED, Stop

if TYPE_CHECKING:
    from streamfx.config.source import KafkaSection
    from streamfx.config.tracing import Tracing
    from streamfx.media.sound_track import SoundChoice
    from streamfx.media.tracks import VideoTrack
    from streamfx.source.publish import Destination


class SoundTrackType(click.ParamType["SoundChoice"]):
    """`auto`, or a number from 0 on."""

    name = "auto|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SoundChoice:
        """`auto`, or the track's number."""
        if value == "auto":
            return "auto"
        if str(value).isdecimal():
            return int(value)
        self.fail(f"expected auto or a number from 0 on, got {value!r}", param, ctx)


@click.command(epilog=EXIT_CODES)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, envvar="STREAMFX_PUBLISH_INPUT")
@click.option("--topic", help="Kafka topic to publish to; default: the config's source.kafka.topic.")
@click.option("--bootstrap", help="Broker addresses, host:port,…; default: the config's source.kafka.bootstrap.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="Pipeline configuration whose source.kafka gives broker, topic, TLS and login.",
)
@set_option("the configuration in --config")
@click.option("--to", type=click.Path(path_type=Path), help="Write folders of chunks here, in place of Kafka.")
@click.option(
    "--create-topic", type=click.IntRange(1), metavar="PARTITIONS", help="First create the topic, stamped on append."
)
@click.option(
    "--chunk-s", type=FiniteRange(0.2, 60), default=2.0, show_default=True, help="Length of a chunk, seconds."
)
@click.option(
    "--start", help="UTC time of the first frame (ISO 8601); default: the container's creation time, else the file's."
)
@click.option(
    "--stream-id", help="Stream id, for one input; default: the file's name without its suffix. Live inputs need one."
)
@click.option(
    "--video-track",
    type=click.IntRange(0),
    help="Number of the video track, from 0; default: the one that is marked default, else the largest.",
)
@click.option("--consent", type=click.Choice(["granted", "refused"]), help="Consent header of all chunks.")
@click.option(
    "--sound-track",
    type=SoundTrackType(),
    default="auto",
    show_default=True,
    help="Which of several sound tracks is kept: its number, counted from 0, or auto: default first, silent ones last.",
)
@click.option("--realtime", is_flag=True, help="Send each chunk when a camera would have: at the pace of the video.")
@click.option("--claim-check-dir", help="Folder or URI prefix for chunks that are too large for the topic.")
@click.option(
    "--reconnect-max-s",
    type=FiniteRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="Live: longest wait before a lost input or broker is tried again, seconds.",
)
@click.option(
    "--buffer-mib",
    type=click.IntRange(1, 65536),
    default=64,
    show_default=True,
    help="Live: most MiB of chunks that may wait for Kafka; beyond it the oldest are dropped and counted.",
)
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Live: serve Prometheus metrics on this port.")
def publish(
    inputs: tuple[str, ...],
    topic: str | None,
    bootstrap: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    to: Path | None,
    create_topic: int | None,
    chunk_s: float,
    start: str | None,
    stream_id: str | None,
    video_track: int | None,
    consent: Literal["granted", "refused"] | None,
    sound_track: SoundChoice,
    realtime: bool,
    claim_check_dir: str | None,
    reconnect_max_s: float,
    buffer_mib: int,
    metrics_port: int | None,
) -> None:
    """Cut videos into self-contained chunks and publish them, several inputs at the same time.

    INPUT is a video, a folder of videos, or a folder of chunks that --to wrote, which is published as it is; or one
    live input, rtsp://, rtsps://, udp://, tcp://, http://, https:// or /dev/video0, published until SIGTERM or Ctrl-C.
    The environment variable STREAMFX_PUBLISH_INPUT may name it, so that no password is on the command line.
    """
    from streamfx.media.live import is_live
    from streamfx.runtime.logs import configure_logs
    from streamfx.runtime.traces import TracedDestination, open_traces
    from streamfx.source.kafka_client import create_topic as create_a_topic
    from streamfx.source.publish import FolderDestination, KafkaDestination
    from streamfx.source.publish import publish as publish_streams
    from streamfx.source.streams import parse_start

    live = [text for text in inputs if is_live(text)]
    if unknown := next((text for text in inputs if "://" in text and not is_live(text)), None):
        raise click.UsageError(f"{unknown.partition('://')[0]}:// is not a scheme of a live input")
    if live and (len(inputs) > 1 or stream_id is None):
        raise click.UsageError("a live input is published alone, with --stream-id; start one process for each")
    if live and (start is not None or realtime):
        raise click.UsageError("a live input has its own time: it goes without --start and --realtime")
    if not live and metrics_port is not None:
        raise click.UsageError("--metrics-port is for live inputs")
    start_us = parse_start(start) if start is not None else None
    track: VideoTrack = "auto" if video_track is None else video_track
    if to is not None:
        if topic or bootstrap or config or create_topic or claim_check_dir:
            raise click.UsageError("--to writes folders: it goes with none of the options for Kafka")
        folder = to
        opened: Callable[[], Destination] = lambda: FolderDestination(folder)  # noqa: E731
    else:
        kafka, tracing = _kafka(topic, bootstrap, config, overrides)
        if create_topic is not None:
            create_a_topic(kafka, kafka.topic, create_topic)
        traces = open_traces(tracing)
        click.get_current_context().call_on_close(traces.close)
        opened = lambda: TracedDestination(KafkaDestination(kafka, claim_check_dir), traces)  # noqa: E731
    configure_logs("info", "text")
    if stream_id is not None and live:
        _publish_live(
            live[0], opened, stream_id, chunk_s, consent, track, reconnect_max_s, buffer_mib, metrics_port, sound_track
        )
        return
    with closing(opened()) as destination:
        done = publish_streams(
            [Path(text) for text in inputs],
            destination,
            chunk_s=chunk_s,
            start_us=start_us,
            stream_id=stream_id,
            consent=consent,
            track=track,
            realtime=realtime,
            progress=True,
            sound_track=sound_track,
        )
    say_left_out(done.left_out)
    claims = f", {done.claim_checks} of them as claim checks" if done.claim_checks else ""
    click.echo(f"published {done.chunks} chunks of {done.streams} streams ({done.media_bytes / 1e6:.1f} MB{claims})")
    exit_if_left_out(done.left_out)


def _publish_live(
    url: str,
    opened: Callable[[], Destination],
    stream_id: str,
    chunk_s: float,
    consent: Literal["granted", "refused"] | None,
    track: VideoTrack,
    reconnect_max_s: float,
    buffer_mib: int,
    metrics_port: int | None,
    sound_track: SoundChoice,
) -> None:
    from streamfx.media.live import check_url
    from streamfx.runtime.metrics import serve
    from streamfx.source.live import LiveMetrics, publish_live
    from streamfx.source.streams import check_stream_id

    check_stream_id(stream_id, "--stream-id")
    check_url(url)
    stop, metrics = Stop("what waits is sent before the end"), LiveMetrics()
    if metrics_port is not None:
        serve(range(metrics_port, metrics_port + 1), metrics.registry, "--metrics-port")
    done = publish_live(
        url,
        opened,
        stop.asked,
        stream_id=stream_id,
        chunk_s=chunk_s,
        consent=consent,
        track=track,
        reconnect_max_s=reconnect_max_s,
        buffer_bytes=buffer_mib << 20,
        metrics=metrics,
        sound_track=sound_track,
    )
    with suppress(OSError):  # the terminal may be what ended it
        click.echo(
            f"published {done.chunks} chunks ({done.media_bytes / 1e6:.1f} MB); {done.dropped} dropped, "
            f"{done.gaps} gaps, "
            f"{done.reconnects} reconnects"
        )
    if stop.exit_code != INTERRUPTED:  # a live input has no other end than Ctrl-C
        sys.exit(stop.exit_code)


def _kafka(
    topic: str | None, bootstrap: str | None, config: Path | None, overrides: tuple[str, ...]
) -> tuple[KafkaSection, Tracing]:
    from streamfx.config.source import KafkaSection
    from streamfx.config.tracing import Tracing
    from streamfx.pipeline import load_config

    if overrides and config is None:
        raise click.UsageError("--set changes the configuration in --config, which is not given")
    if config is not None:
        checked = load_config(named_config(config), overrides)
        if checked.source.kafka is None:
            raise ConfigError(f"{config}: expected a section source.kafka, to publish to")
        changes = {name: value for name, value in (("topic", topic), ("bootstrap", bootstrap)) if value}
        return checked.source.kafka.model_copy(update=changes), checked.tracing
    if not (topic and bootstrap):
        raise click.UsageError("expected a destination: --topic with --bootstrap, or --config, or --to for folders")
    return KafkaSection(bootstrap=bootstrap, topic=topic), Tracing()
