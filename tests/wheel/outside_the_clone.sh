#!/usr/bin/env bash
# Builds the wheel and runs the quickstart from it in an empty folder: shipped configs, models and weights must be inside.
set -euo pipefail
repo=$(cd "$(dirname "$0")/../.." && pwd)
python=$repo/.venv/bin/python
away=$(mktemp -d)
trap 'rm -rf "$away"' EXIT
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$away/dist" "$repo"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$away/site" "$away"/dist/*.whl
cd "$away"
export PYTHONPATH=$away/site
"$python" - <<'PY'
import os, shutil, streamfx, streamfx_operators
from pathlib import Path
from streamfx.demo.run import CLIP
from streamfx.shipped import shipped
site = Path(os.environ["PYTHONPATH"])
for found in (Path(streamfx.__file__), Path(streamfx_operators.__file__), *(shipped(f) for f in ("config", "triton_models", "weights")), CLIP):
    assert found.resolve().is_relative_to(site.resolve()), f"{found} is not from the wheel"
shutil.copy(CLIP, "mine.mp4")
PY
"$python" -m streamfx models list
"$python" -m streamfx config check quickstart
"$python" -m streamfx plan --streams 10 --fps 25 --hours 1 > plan.txt
"$python" -m streamfx run quickstart --quiet --set 'source.files.paths=[mine.mp4]' --set sink.path=data --set redact.preview_dir=pictures --set privacy.stream_id_key_file=key
"$python" -m streamfx verify data > report.json
"$python" -c 'import json; rows = json.load(open("report.json"))["rows"]; assert rows["windows"] >= 8, rows; print("the wheel works outside the clone:", rows)'
