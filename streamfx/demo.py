"""What `make demo` runs: a video through the quickstart, then a look at what came out."""

from __future__ import annotations

import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from streamfx.config import load_config
from streamfx.errors import StreamfxError
from streamfx.runtime.logs import configure_logs
from streamfx.runtime.supervisor import run_pipeline
from streamfx.runtime.worker import RunRange
from streamfx.shipped import shipped

OUT = Path("out/demo")
FPS, SIZE, RATE = 25, 384, 16_000


def make_video(path: Path, seconds: int = 8) -> None:
    """A clip with sound from one public-domain picture (NASA's astronaut Eileen Collins), moved and zoomed."""
    from skimage import data

    picture = Image.fromarray(data.astronaut())
    beside = path.with_suffix(".part.mp4")
    with av.open(str(beside), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width = video.height = SIZE
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for i in range(FPS * seconds):
            turn = 2 * np.pi * i / (FPS * 8)
            side = 300 + 60 * np.cos(turn)
            x, y = 100 + 30 * np.sin(turn), 10 + 10 * np.sin(2 * turn)
            view = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
            container.mux(video.encode(av.VideoFrame.from_image(view)))
        time_s = np.arange(RATE * seconds) / RATE
        tone = (0.2 * np.sin(2 * np.pi * 220 * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2).astype(np.float32)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(sound.encode(frame))
        container.mux(video.encode())
        container.mux(sound.encode())
    beside.rename(path)


def show(dataset: Path, pictures: Path) -> None:
    """Print where the rows and the pictures are, and a small table of the rows."""
    import duckdb

    print(f"\nParquet:         {dataset}/windows and {dataset}/chunks")
    masked = sorted(pictures.glob("*.png"))
    print(f"Masked picture:  {masked[len(masked) // 2] if masked else 'none (no picture was due)'}\n")
    windows = f"read_parquet('{dataset}/windows/**/*.parquet', union_by_name = true)"
    if not list(dataset.glob("windows/**/*.parquet")):
        print("No window had a face in at least half of it; see the `chunks` table for what became of each chunk.")
        return
    print(
        duckdb.sql(f"""
        select window_start, left(track_id, 8) as track, frames, round(face_height_px) as face_px,
               audio_present as sound, expression, round(confidence, 2) as confidence, model_version
        from {windows} order by window_start, track limit 12""")
    )


def main(video: str | None) -> None:
    """Run the quickstart on `video`, or on the clip made here."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = Path(video) if video else OUT / "astronaut.mp4"
    if not video and not path.exists():
        make_video(path)
    folder = OUT / path.stem if video else OUT
    overrides = [f"sink.path='{folder / 'dataset'}'", f"redact.preview_dir='{folder / 'previews'}'"]
    config = load_config(shipped("config") / "quickstart.yaml", [f"source.files.paths=['{path}']", *overrides])
    configure_logs(config.runtime.log_level, config.runtime.log_format)
    statuses = run_pipeline(config, RunRange(), None, threading.Event(), lambda _: None)
    chunks = sum(status.chunks for status in statuses)
    print(
        f"{path}: {chunks} chunks, {sum(status.windows for status in statuses)} windows"
        if chunks
        else f"{path}: already in the dataset"
    )
    show(config.sink.path, folder / "previews")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
    except StreamfxError as error:
        sys.exit(f"Error: {error}")
