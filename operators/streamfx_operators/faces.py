"""Faces: detection every few samples and tracking in between; several faces in a frame are several tracks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from streamfx.config.findings import Finding, missing, wrong
from streamfx.config.tree import Config as Tree
from streamfx.detection.centerface import Detection, Detector, Precision, shared_detector
from streamfx.detection.look import look
from streamfx.errors import MissingComponent, ModelError
from streamfx.models.attributes import METHODS
from streamfx.operator import FaceOperator, OperatorConfig, OperatorContext
from streamfx.records import MICROSECONDS, CropBox, FaceInFrame, Frame, Segment, Snapshot, TrackedFrame
from streamfx_operators.lnet_detector import LNetDetector, look_at_lnet, shared_lnet_detector
from streamfx_operators.near import look_near, refined, squares
from streamfx_operators.tracker import Track, Tracker

log = logging.getLogger(__name__)

MASK_THRESHOLD = 0.2
"""Masks also cover detections that are only possibly faces."""
FOLLOW_THRESHOLD = 0.35
"""A known track is followed at a lower confidence than a new face needs."""
Region = tuple[float, float, float, float]


class FacesConfig(OperatorConfig):
    """How faces are found and followed."""

    detect_every: Annotated[int, Field(ge=1, le=64)] = 2
    """Samples from one detection to the next; tracks move on at constant velocity in between."""
    detect_px: Annotated[int, Field(ge=64, le=4096)] = 512
    """Longer side of the picture that the detector sees, pixels. A face is found from about 16 pixels of it on; the
    time a detection takes grows with its square."""
    whole_every_s: Annotated[float, Field(ge=0, le=60)] = 1.0
    """Seconds of event time from one detection in the whole picture to the next while all known faces are found;
    detections between them look near these faces only. So a face that joins others is found up to this much later. 0:
    each detection is in the whole picture."""
    precision: Precision = "int8"
    """In which CenterFace computes on a CPU: whole numbers of 8 bits, or floating-point numbers of 32, which take about
    twice the time and find a few more of the smallest faces. A GPU takes 32 bits."""
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Confidence from which a new face is believed."""
    min_face_px: Annotated[int, Field(ge=4)] = 20
    """Smallest height of a face that is followed, pixels of the frame; smaller ones are masked all the same."""
    keep_lost_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds of event time that a hidden face keeps its track."""
    margin: Annotated[float, Field(ge=1, le=3)] = 1.2
    """Side of the square crop in units of the face's longer side."""
    align: bool = True
    """Turn the crop so that the eyes are level."""
    max_faces: Annotated[int, Field(ge=1, le=1000)] = 64
    """Tracks a stream may have at once, the largest faces first; further ones are masked but not followed."""
    method: Literal["centerface", "lnet"] = "centerface"
    """`centerface` finds all faces. `lnet` finds one face a picture with the LNets of a model of attributes, which
    learned from attribute tags alone; it is less exact, and no mask is made from it: with it, pictures are filled whole."""
    lnet_model: Annotated[str, Field(min_length=1)] = METHODS["lnet_anet"]
    """With `method: lnet`: model directory with the LNets, or the name of one that comes with streamfx. Each row says
    which they were, in `faces_model_version`."""


@dataclass(slots=True)
class _Stream:
    tracker: Tracker
    last_sample_us: int = -1
    last_detection: int = -1
    last_whole: int = -1
    """Turn of the latest detection in the whole picture."""
    width: int = 0
    height: int = 0
    maybe: list[Region] | None = field(default_factory=list)
    """All faces of the latest detection, however uncertain; None if it failed."""
    crowded: bool = False


class Faces(FaceOperator):
    """CenterFace, or the LNets, on every `detect_every`-th point of the sampling grid, and box tracks.

    Whether a detection sees the whole picture follows from event time and the tracks alone, so that it is the same
    however a stream is cut, and after a restart.
    """

    name = "faces"
    Config = FacesConfig
    config: FacesConfig

    def __init__(self, config: FacesConfig, context: OperatorContext, detector: Detector | None = None):
        """`detector` takes the place of the one that the configuration names."""
        super().__init__(config, context)
        if detector is None:
            by_lnet = config.method == "lnet"
            detector = (
                shared_lnet_detector(config.lnet_model)
                if by_lnet
                else shared_detector(context.threads, config.precision)
            )
        self._detector: Detector = detector
        self._streams: dict[str, _Stream] = {}
        self._sure = min(FOLLOW_THRESHOLD, config.threshold)
        self._interval_us = config.detect_every * context.sample_period_us
        near = config.method == "centerface"
        self._whole_turns = max(1, round(config.whole_every_s * MICROSECONDS / self._interval_us)) if near else 1

    @classmethod
    def look(cls, section: Any, config: Tree) -> Iterator[Finding]:
        """Whether the LNets are here, where they are asked for."""
        if section.method == "lnet":
            try:
                look_at_lnet(section.lnet_model)
            except MissingComponent as error:
                yield missing("faces.lnet_model", error)
            except ModelError as error:
                yield wrong("faces.lnet_model", error)

    def provenance(self) -> Mapping[str, str]:
        """The LNets' name and version. CenterFace comes in one version only, so `faces.method` says all of it."""
        if isinstance(self._detector, LNetDetector):
            return {"model": self._detector.info.name, "model_version": self._detector.info.version}
        return {}

    def track(self, stream_id: str, offset: int, segment: Segment) -> list[TrackedFrame]:
        """The segment's new samples with their faces."""
        stream = self._streams.get(stream_id) or self._new_stream()
        self._streams[stream_id] = stream
        tracked = []
        for frame in segment.frames:
            if frame.sample_us > stream.last_sample_us:
                stream.last_sample_us = frame.sample_us
                tracked.append(self._look(stream, offset, frame))
        return tracked

    def end_stream(self, stream_id: str) -> None:
        """Forget the stream."""
        self._streams.pop(stream_id, None)

    def snapshot(self, stream_id: str) -> Snapshot | None:
        """Tracks, boxes and the detector's phase."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return None
        return {
            "last_sample_us": stream.last_sample_us,
            "last_detection": stream.last_detection,
            "last_whole": stream.last_whole,
            "size": [stream.width, stream.height],
            "maybe": stream.maybe,
            "tracks": stream.tracker.snapshot(),
        }

    def restore(self, stream_id: str, snapshot: Snapshot) -> None:
        """Continue from a snapshot."""
        stream = self._streams[stream_id] = self._new_stream()
        stream.last_sample_us, stream.last_detection = snapshot["last_sample_us"], snapshot["last_detection"]
        stream.last_whole = snapshot["last_whole"]
        stream.width, stream.height = snapshot["size"]
        maybe = snapshot["maybe"]
        stream.maybe = None if maybe is None else [(r[0], r[1], r[2], r[3]) for r in maybe]
        stream.tracker.restore(snapshot["tracks"])

    def _new_stream(self) -> _Stream:
        config, interval_us = self.config, self._interval_us
        keep_us = round(config.keep_lost_s * MICROSECONDS)
        return _Stream(Tracker(config.threshold, keep_us, interval_us + interval_us // 2, config.max_faces))

    def _look(self, stream: _Stream, offset: int, frame: Frame) -> TrackedFrame:
        self._follow_size(stream, frame)
        turn = frame.sample_us // self._interval_us
        detected = turn > stream.last_detection
        near = detected and self._follow_near(stream, frame, turn)
        # Where pictures leave, all places that may show a face must be known; who is followed stays the same.
        whole = detected and (not near or self.context.pictures_leave)
        if whole:
            found = self._see_whole(stream, frame)
            if found is not None and not near:
                stream.last_whole = turn
                self._follow(stream, frame, found)
        if detected:
            stream.last_detection = turn
        if stream.maybe is None:
            return TrackedFrame(offset, frame, [], None, whole)
        tracks = [track.at(frame.sample_us) for track in stream.tracker.tracks]
        faces = [self._face(track, frame, detected) for track in tracks if not track.hidden]
        regions = [*stream.maybe, *map(_region, tracks)]
        if self.config.method == "lnet":
            # The LNets find one face and miss others, so any place of the picture may show one.
            regions = [(0.0, 0.0, float(frame.width), float(frame.height))]
        return TrackedFrame(offset, frame, faces, regions, whole)

    def _follow_near(self, stream: _Stream, frame: Frame, turn: int) -> bool:
        """Follow the known faces by looking near them; False where only a look at the whole picture can tell."""
        tracks = stream.tracker.expected(frame.sample_us)
        if turn // self._whole_turns != stream.last_whole // self._whole_turns or stream.maybe is None or not tracks:
            return False
        places = [(track.center_x, track.center_y, track.size) for track in tracks]
        where = squares(places, frame.width, frame.height, self.config.detect_px)
        if where is None:
            return False
        try:
            found = self._large(look_near(self._detector, frame.pixels, where, self._sure))
        except Exception:
            return False  # the look at the whole picture meets the same fault, and reports it
        if not stream.tracker.knows_exactly(frame.sample_us, found):
            return False
        stream.tracker.update(frame.sample_us, found)
        return True

    def _see_whole(self, stream: _Stream, frame: Frame) -> list[Detection] | None:
        """All that may be a face, which the stream keeps for masks; None where the detector failed."""
        try:
            found = self._found(frame)
        except Exception as error:  # whatever the error, nothing of this frame may be shown
            log.error("the face detector failed (%s); frames are masked whole until it works", type(error).__name__)
            stream.maybe = None
            return None
        stream.maybe = [_rounded((d.x0, d.y0, d.x1, d.y1)) for d in found]
        return found

    def _follow(self, stream: _Stream, frame: Frame, found: list[Detection]) -> None:
        sure = self._large([d for d in found if d.score >= self._sure])
        if self._whole_turns > 1:
            sure = refined(self._detector, frame.pixels, sure, self.config.detect_px, self._sure)
        left_out = stream.tracker.update(frame.sample_us, sure)
        if left_out and not stream.crowded:
            stream.crowded = True
            log.warning("more faces than faces.max_faces = %d: %d are not followed", self.config.max_faces, left_out)

    def _large(self, found: list[Detection]) -> list[Detection]:
        """Those that are large enough to be followed."""
        return [d for d in found if d.y1 - d.y0 >= self.config.min_face_px]

    def _found(self, frame: Frame) -> list[Detection]:
        """Detections in pixels of the frame."""
        threshold = min(MASK_THRESHOLD, self.config.threshold)
        return look(self._detector, frame.pixels, self.config.detect_px, threshold)

    def _face(self, track: Track, frame: Frame, detected: bool) -> FaceInFrame:
        roll = track.roll_deg if self.config.align else 0.0
        side = round(track.size * self.config.margin, 2)
        box = CropBox(track.center_x, track.center_y, side, roll, frame.width, frame.height)
        return FaceInFrame(track.birth_us, track.birth_index, box, track.score, track.height, detected)

    def _follow_size(self, stream: _Stream, frame: Frame) -> None:
        size = frame.width, frame.height
        if stream.width and size != (stream.width, stream.height):
            factor_x, factor_y = frame.width / stream.width, frame.height / stream.height
            stream.tracker.rescale(factor_x, factor_y)
            if stream.maybe:
                stream.maybe = _rescaled(stream.maybe, factor_x, factor_y)
        stream.width, stream.height = size


def _rescaled(regions: Sequence[Region], factor_x: float, factor_y: float) -> list[Region]:
    return [_rounded((r[0] * factor_x, r[1] * factor_y, r[2] * factor_x, r[3] * factor_y)) for r in regions]


def _rounded(region: Region) -> Region:
    x0, y0, x1, y1 = region
    return round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)


def _region(track: Track) -> Region:
    x, y, half_x, half_y = track.center_x, track.center_y, track.width / 2, track.height / 2
    return x - half_x, y - half_y, x + half_x, y + half_y
