"""Runs the built images as a node runs them, as uid 10001 on a read-only root, and prints what was seen as JSON.

Needs root and buildah, as `build.sh` does. The worker image runs the quickstart to its rows; the Triton image serves,
and the worker image's line asks it. Exit 1 where anything is not as it should be.

    python k8s/images/check.py > out/images.json
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

USER = 10001
GRPC_PORT = 8001
LABELS = ("title", "description", "licenses", "version", "revision", "source")
FORBIDDEN = ("gcc", "cc", "g++", "ld", "make", "pip", "pip3")
CACHES = ("var/lib/apt/lists", "var/cache/apt", "root/.cache", "tmp")
VERSION = re.search(
    r"^appVersion: \"?([^\"\n]+)", (Path(__file__).parents[1] / "chart" / "Chart.yaml").read_text(), re.M
)
BUILDAH_ENV = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}


def buildah(*arguments: str) -> str:
    """What buildah answers."""
    done = subprocess.run(
        ["buildah", *arguments], env={**BUILDAH_ENV, **os.environ}, check=True, stdout=subprocess.PIPE
    )
    return done.stdout.decode().strip()


class Image:
    """A built image, mounted, of which processes can be started."""

    def __init__(self, name: str, root: Path):
        self.name, self.root = name, root
        self.config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", name))["OCIv1"]["config"]

    def faults(self) -> list[str]:
        """What a security review would send back."""
        found = []
        if self.config.get("User") != f"{USER}:{USER}":
            found.append(f"runs as {self.config.get('User')!r}, expected {USER}:{USER}")
        labels = self.config.get("Labels") or {}
        found += [f"no label {name}" for name in LABELS if not labels.get(f"org.opencontainers.image.{name}")]
        wheels = [path.relative_to(self.root) for path in self.root.rglob("pip-*.whl")]
        found += [f"/{path} is left inside" for path in wheels]
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/streamfx/bin", "opt/triton/bin"):
            found += [f"/{folder}/{name} is left inside" for name in FORBIDDEN if (self.root / folder / name).exists()]
        found += [f"/{folder} is not empty" for folder in CACHES if any(self._files(self.root / folder))]
        found += [
            f"/{path.relative_to(self.root)} is setuid" for path in self._files(self.root) if self._is_privileged(path)
        ]
        return found

    def facts(self) -> dict[str, Any]:
        """What it was built from, how large it is, and what is wrong with it."""
        revision = (self.config.get("Labels") or {}).get("org.opencontainers.image.revision")
        return {"revision": revision, "mib": self.size_mib(), "faults": self.faults()}

    def size_mib(self) -> int:
        """Size of its files on disk."""
        return round(int(subprocess.check_output(["du", "-s", "--block-size=1K", self.root]).split()[0]) / 1024)

    def start(self, data: Path, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command as a pod's container runs: the image's environment and user, the root read-only, /tmp and
        /data the only places to write. `options` go to Popen."""
        inside = f"""
set -eu
mount --bind {self.root} {self.root}
for kind in proc sys; do mount --rbind /$kind {self.root}/$kind; done
mount --rbind /dev {self.root}/dev
mount -t tmpfs -o mode=1777 tmpfs {self.root}/tmp
mkdir -p {self.root}/mnt && mount --bind {data} {self.root}/mnt
mount --bind -o remount,ro {self.root}
exec chroot --userspec={USER}:{USER} {self.root} env --chdir=/mnt "$@"
"""
        environment = self.config.get("Env") or []
        line = ["unshare", "--mount", "--propagation", "private", "bash", "-c", inside, "-", *environment, *command]
        return subprocess.Popen(line, text=True, env={"PATH": os.environ["PATH"]}, start_new_session=True, **options)

    def run(self, data: Path, *command: str) -> tuple[int, str]:
        """Run a command to its end; its status and all that it said."""
        process = self.start(data, *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said, _ = process.communicate(timeout=1200)
        return process.returncode, said

    def weights_of_others(self, data: Path) -> dict[str, Any]:
        """The weights of others inside, as their user sees them; none in an image that was built without."""
        if not any(self.root.glob("opt/*/share/streamfx/*")):
            return {"weights_of_others": []}
        status, said = self.run(data, "streamfx", "models", "fetch")
        if status or "already in" not in said:
            return {"said": f"uid {USER} cannot use the weights of others inside: {said[-2000:]}"}
        return {"weights_of_others": said.strip().splitlines()}

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())

    @staticmethod
    def _is_privileged(path: Path) -> bool:
        return bool(path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID))


@contextlib.contextmanager
def mounted(name: str) -> Iterator[Image]:
    """The image, mounted for as long as the context lasts."""
    container = buildah("from", "--pull-never", name)
    try:
        yield Image(name, Path(buildah("mount", container)))
    finally:
        buildah("rm", container)


def check_worker(image: Image, data: Path) -> dict[str, Any]:
    """The quickstart, its verification, and where the root file system can be written."""
    _, writable = image.run(data, "sh", "-c", "find / -xdev -writable -type d 2>/dev/null")
    started = time.monotonic()
    status, said = image.run(data, "streamfx", "run", "quickstart", "--quiet")
    took_s = round(time.monotonic() - started, 1)
    verified, report = image.run(data, "streamfx", "verify", "out/demo/dataset")
    _, version = image.run(data, "streamfx", "--version")
    _, user = image.run(data, "id")
    _, refused = image.run(data, "touch", "/opt/probe")
    # KubeRay starts Ray from a shell, which may be a login shell; the chart's pods make certificates with openssl.
    called, tools = image.run(data, "/bin/bash", "-lc", "ray --version && openssl version && streamfx --version")
    result = {"quickstart_exit": status, "quickstart_s": took_s, "verify_exit": verified, "user": user.strip()}
    result |= {"version": version.strip(), "writable_folders": writable.split()}
    result["root_is_read_only"] = "Read-only file system" in refused
    if status or verified or called:
        return {**result, "said": said[-2000:], "report": report[-2000:], "tools": tools[-2000:]}
    return {**result, "rows": json.loads(report)["rows"]}


def check_triton(triton: Image, worker: Image, data: Path) -> dict[str, Any]:
    """The model server from its image, and the quickstart of the worker image that asks it."""
    log = data / "triton.log"
    started = time.monotonic()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", GRPC_PORT)) == 0:
            return {"said": f"port {GRPC_PORT} is taken: another server would answer in place of the image's"}
    with log.open("w") as out:
        server = triton.start(data, *triton.config["Cmd"], stdout=out, stderr=subprocess.STDOUT)
        try:
            settings = ["serving.backend=triton", "serving.deadline_s=60", "serving.retries=10", "sink.path=served"]
            sets = [part for setting in settings for part in ("--set", setting)]
            status, said = worker.run(data, "streamfx", "run", "quickstart", "--quiet", *sets)
            lived = server.poll() is None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, 15)
            server.wait(60)
    verified, report = worker.run(data, "streamfx", "verify", "served")
    result = {"served_exit": status, "verify_exit": verified, "start_and_run_s": round(time.monotonic() - started, 1)}
    if status or verified or not lived:
        return {
            **result,
            "said": said[-2000:],
            "report": report[-2000:],
            "log": [line for line in log.read_text().splitlines() if line[:1] in "EW" or "rror" in line][-20:],
        }
    return {**result, "rows": json.loads(report)["rows"]}


def main() -> int:
    """Check both images; JSON to standard output."""
    assert VERSION is not None
    names = [f"localhost/streamfx/{part}:{VERSION[1]}" for part in ("worker", "triton")]
    folder = Path(tempfile.mkdtemp(prefix="streamfx-images-"))
    os.chown(folder, USER, USER)
    try:
        with mounted(names[0]) as worker, mounted(names[1]) as triton:
            seen = {image.name: image.facts() for image in (worker, triton)}
            for image in (worker, triton):
                seen[image.name] |= image.weights_of_others(folder)
            seen[worker.name] |= check_worker(worker, folder)
            seen[triton.name] |= check_triton(triton, worker, folder)
    finally:
        shutil.rmtree(folder)
    wrong = [
        name for name, one in seen.items() if one["faults"] or "said" in one or not one.get("rows", {}).get("windows")
    ]
    wrong += [] if seen[names[0]]["root_is_read_only"] else ["the root can be written"]
    print(json.dumps({"command": "make images", "machine": platform.machine(), "cores": os.cpu_count(),
                      "wrong": wrong, "images": seen}, indent=1))  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
