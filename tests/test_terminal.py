"""Every command in a terminal: progress, Ctrl-C, odd window sizes, and fast help."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from helpers.astronaut import make_video
from helpers.camera import filming
from helpers.datasets import Maker
from helpers.ports import free_port
from helpers.terminal import STREAMFX, Terminal

from streamfx.cli.main import main
from streamfx.config.yaml import apply_override, yaml_text
from streamfx.demo.run import CLIP
from streamfx.terminal import printable

REPO = Path(__file__).parents[1]
COMMANDS = main.list_commands(click.Context(main))
HEAVY = "torch ray pandas numpy av tqdm kafka pydantic yaml scipy PIL onnxruntime fastparquet streamfx_operators"
UNUSED = (
    "ray kafka torch._dynamo sympy tritonclient grpc obstore opentelemetry sklearn matplotlib decord streamfx.train"
)
"""What a run over files with the nets in its process has no use for."""


def run_in(folder: Path, *more: str, columns: int = 100, **environment: str) -> Terminal:
    command = [*STREAMFX, "run", "quickstart", "--set", f"source.files.paths={yaml_text([str(CLIP)])}"]
    return Terminal([*command, "--set", "sink.path=data", *more], folder, columns, **environment)


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in COMMANDS), ("train", "expression"), ("models", "import")]
)
def test_help_imports_no_heavy_module(command: tuple[str, ...]) -> None:
    code = (
        "import sys\nfrom streamfx.cli.main import main\ntry:\n  main(sys.argv[2:] + ['--help'])\nexcept "
        "SystemExit as end:\n"
        "  assert end.code == 0\nprint('LOADED', sorted(set(sys.argv[1].split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, HEAVY, *command], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout and done.stdout.endswith("LOADED []\n")


def test_a_run_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom streamfx.cli.main import main\ntry:\n  main(sys.argv[2:])\nexcept SystemExit as end:\n"
        "  assert end.code == 0\nprint('LOADED', sorted(set(sys.argv[1].split()) & set(sys.modules)))"
    )
    make_video(tmp_path / "clip.mp4", 4)
    values = {
        "source.files.paths": yaml_text([str(tmp_path / "clip.mp4")]),
        "sink.path": str(tmp_path / "data"),
        "privacy.stream_id_key_file": str(tmp_path / "key"),
        "redact.preview_dir": "null",
    }
    command = ["run", "quickstart", *(f"--set={name}={value}" for name, value in values.items())]
    done = subprocess.run([sys.executable, "-c", code, UNUSED, *command], capture_output=True, text=True, check=True)
    assert "chunks: 2 processed" in done.stderr and done.stdout.endswith("LOADED []\n"), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("columns", "environment"),
    [(100, {}), (12, {}), (0, {}), (100, {"NO_COLOR": "1"}), (100, {"TERM": "dumb"})],
    ids=["plain", "narrow", "no size", "NO_COLOR", "dumb"],
)
def test_a_run_in_a_terminal_ends_with_its_totals(tmp_path: Path, columns: int, environment: dict[str, str]) -> None:
    terminal = run_in(tmp_path, columns=columns, **environment)
    assert terminal.end() == 0, terminal.shown
    assert "Traceback" not in terminal.shown and "\x1b" not in terminal.shown
    assert terminal.shown.rstrip().splitlines()[-1].startswith("chunks: ")
    if columns == 100:
        assert ("workers=1" in terminal.shown) == (environment.get("TERM") != "dumb")


def test_ctrl_c_drains_a_run_with_a_message_and_the_next_run_resumes(tmp_path: Path) -> None:
    terminal = run_in(tmp_path)
    terminal.wait_for("workers=1")
    terminal.press_ctrl_c()
    assert terminal.end() == 130, terminal.shown
    assert "Traceback" not in terminal.shown and "Ctrl-C again ends it at once" in terminal.shown
    assert terminal.shown.rstrip().splitlines()[-1].startswith("interrupted; chunks: ")
    again = run_in(tmp_path)
    assert again.end() == 0, again.shown
    assert subprocess.run([*STREAMFX, "verify", "data"], cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_a_second_ctrl_c_ends_a_run_at_once(tmp_path: Path) -> None:
    terminal = run_in(tmp_path)
    terminal.wait_for("workers=1")
    terminal.press_ctrl_c()
    terminal.wait_for("Ctrl-C again")
    terminal.press_ctrl_c()
    assert terminal.end() in (-2, 130) and "Traceback" not in terminal.shown, terminal.shown


def test_a_run_whose_window_is_closed_drains_and_loses_nothing(tmp_path: Path) -> None:
    terminal = run_in(tmp_path)
    terminal.wait_for("workers=1")
    terminal.go_away()
    assert terminal.process.wait(120) == 129
    assert subprocess.run([*STREAMFX, "verify", "data"], cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_ctrl_c_ends_publishing_with_one_line(tmp_path: Path) -> None:
    terminal = Terminal([*STREAMFX, "publish", CLIP, "--to", "out", "--realtime"], tmp_path)
    terminal.wait_for("chunks")
    terminal.press_ctrl_c()
    assert terminal.end() == 130 and "Traceback" not in terminal.shown, terminal.shown
    assert terminal.shown.rstrip().splitlines()[-1] == "Interrupted."


def test_ctrl_c_before_the_command_has_begun_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    terminal = Terminal([*STREAMFX, "run", "quickstart"], tmp_path, PYTHONPATH=str(tmp_path))
    terminal.wait_for("importing")
    terminal.press_ctrl_c()
    assert terminal.end() == -2 and "Traceback" not in terminal.shown, terminal.shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_in_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*STREAMFX, "config", "schema"], stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
        )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr.splitlines()[0] and done.stderr.startswith("Error: ")


def test_a_mistyped_configuration_name_is_answered_with_the_shipped_names(tmp_path: Path) -> None:
    done = subprocess.run([*STREAMFX, "run", "quickstrat"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("kafka-triton, quickstart")


@pytest.mark.slow
def test_a_live_publisher_whose_window_is_closed_sends_waiting_chunks(tmp_path: Path) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    with filming(f"{url}?listen=1", seconds=120):
        terminal = Terminal(
            [*STREAMFX, "publish", url, "--stream-id", "cam", "--to", "out", "--chunk-s", "1"], tmp_path
        )
        give_up = time.monotonic() + 60
        while not list(tmp_path.glob("out/cam/*.mkv")) and not list(tmp_path.glob("out/cam/*.mp4")):
            assert time.monotonic() < give_up and terminal.process.poll() is None
            time.sleep(0.1)
        terminal.go_away()
        assert terminal.process.wait(60) == 129


@pytest.mark.slow
def test_an_interrupted_demo_shows_progress_and_resumes_to_its_table(tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "streamfx.demo"]
    terminal = Terminal(demo, tmp_path)
    terminal.wait_for("workers=1")
    terminal.press_ctrl_c()
    assert terminal.end() == 130 and "Traceback" not in terminal.shown, terminal.shown
    last = terminal.shown.rstrip().splitlines()[-1]
    assert last.startswith("interrupted; ") and last.endswith("the same command goes on from there")
    again = Terminal(demo, tmp_path, columns=20)
    assert again.end() == 0 and "Traceback" not in again.shown and "\x1b" not in again.shown, again.shown
    assert "windows name the true expression" in again.shown


@pytest.mark.parametrize(
    "command",
    [
        *(
            ["verify", "no"],
            ["files", "no"],
            ["compact", "no"],
            ["retain", "no", "--older-than", "1d"],
            ["models", "list"],
        ),
        *(
            ["erase", "quickstart", "--stream", "x"],
            ["config", "check", "quickstart"],
            ["train", "expression", "no.yaml"],
        ),
        *(["plan", "--streams", "2", "--fps", "25", "--hours", "1"], ["evaluate", "--stills", "no"]),
        *(["tune", "quickstart", "--sample", "no.mp4"], ["triton", "serve", "--venv", "no"]),
    ],
    ids=lambda command: command[0],
)
def test_a_wrong_command_in_a_terminal_gives_a_sentence_and_no_traceback(tmp_path: Path, command: list[str]) -> None:
    terminal = Terminal([*STREAMFX, *command], tmp_path, columns=30)
    assert terminal.end() in (0, 1, 2) and "Traceback" not in terminal.shown, terminal.shown


@pytest.mark.parametrize(
    "name", ["😀", "caf\udce9", "new\nline", "\x7f\x85\ufffe", '"q" $HOME `id` \\', "#c: {x}", "[a]*?"]
)
def test_any_name_is_read_back_from_yaml_unchanged(name: str) -> None:
    tree: dict[str, object] = {}
    apply_override(tree, f"a={yaml_text([name])}")
    assert tree == {"a": [name]}


def test_an_emoji_that_json_wrote_as_surrogates_is_one_character() -> None:
    tree: dict[str, object] = {}
    apply_override(tree, 'a="\\ud83d\\ude00"')
    assert tree == {"a": "😀"}


@pytest.mark.parametrize(
    "video", ["a b.mp4", '$HOME `id` "it\'s" $(shell id).mp4', "two\nlines", "back\\slash #1", "😀"]
)
def test_make_passes_a_videos_name_unchanged(tmp_path: Path, video: str) -> None:
    (tmp_path / "Makefile").write_bytes((REPO / "Makefile").read_bytes())
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/centerface.txt", "requirements/synth.txt", ".venv/.ready"):
        (tmp_path / name).touch()
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\nprintf %s "$3"\n')
    python.chmod(0o755)
    # A make that runs these tests would otherwise affect this one.
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "demo", f"VIDEO={video}"]
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=True)
    assert done.stdout == video


def test_terminal_control_characters_are_escaped() -> None:
    assert printable("a\x1b[31m\x07é😀\n\udce9") == "a\\x1b[31m\\x07é😀\n\\udce9"


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8", "│─┌ ş ".encode() + b"\xff\n"),
        ("iso-8859-9", b"|-+ \xfe \xff\n"),  # a Turkish terminal
        ("ascii", b"|-+ \\u015f \xff\n"),
    ],
)
def test_any_text_can_be_printed_in_any_encoding(encoding: str, printed: bytes) -> None:
    code = "from streamfx.terminal import print_any_text\nprint_any_text()\nprint('│─┌ ş \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (printed, b"")


@pytest.mark.parametrize("encoding", ["iso-8859-9", "ascii"])
def test_a_table_is_drawn_in_a_terminal_of_an_older_encoding(encoding: str, tmp_path: Path) -> None:
    Maker(tmp_path / "data").commit(0, 2)
    done = subprocess.run(
        [*STREAMFX, "sql", "data", "select count(*) as chunks from chunks"],
        cwd=tmp_path, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and b"| chunks |" in done.stdout, done
