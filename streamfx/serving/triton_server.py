"""Starts the Triton server that comes in a Python package, for a machine without containers."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from streamfx.errors import MissingComponent, ModelError
from streamfx.models.card import resolve_model
from streamfx.models.contract import weights_variable
from streamfx.models.find import find_model, installed_models
from streamfx.models.outside_files import FOLDER_ENV, outside_folder
from streamfx.shipped import PACKAGE, shipped

VENV_ENV = "STREAMFX_TRITON_VENV"
DEFAULT_VENV = ".venv-triton"
REQUIREMENTS = "torch==2.13.0 nvidia-pytriton==0.7.0 safetensors 'numpy<2'"
HOST = "127.0.0.1"
"""By default only this machine can ask, because the server has no login."""
READY_S = 120.0
"""Seconds a server has to load its models."""
WATCH_S = 0.5
"""Seconds between two looks at a server and its model processes."""
STOP_S = 20.0
"""Seconds a server has to end after SIGTERM before it is killed."""

_ASK = (
    "import importlib.util as u, json, sys, sysconfig; "
    "print(json.dumps({'site': sysconfig.get_path('purelib'), 'lib': sysconfig.get_config_var('LIBDIR'), "
    "'python': '%d.%d' % sys.version_info[:2], "
    "'missing': [m for m in ('torch', 'safetensors', 'numpy', 'pytriton') if not u.find_spec(m)], "
    "'numpy': __import__('numpy').__version__ if u.find_spec('numpy') else ''}))"
)
PACKAGES = "packages"
"""Folder of the packages that the served models are from."""
CONNECTION_AGE_MS = 60_000
"""How long a client keeps its connection: a service balances connections, so a server that is added gets work only by
new ones. What is under way is answered on the old one."""
# The server must not outlive whoever started it, even one that is killed: the kernel sends it SIGTERM then.
_LAUNCH = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Ports:
    """Where the server listens. `tls`: certificate and private key (PEM) for gRPC; without, it is plain."""

    http: int = 8000
    grpc: int = 8001
    metrics: int = 8002
    host: str = HOST
    tls: tuple[Path, Path] | None = None


class LocalTriton:
    """A running server on this machine: ready when constructed, its process group gone after `stop`."""

    def __init__(
        self,
        ports: Ports = Ports(),
        models: Mapping[str, str] | None = None,
        repository: Path | None = None,
        venv: Path | None = None,
        log: IO[Any] | None = None,
        also: Sequence[Path] = (),
    ):
        """Start it and wait until it is ready.

        `models` gives the model directory (or shipped name) behind a served model's name; `repository` is a Triton
        model repository in place of the shipped one, and `also` are others that are served beside it; `venv` is the
        environment with the server; `log` takes the server's log (default: stderr). Raises MissingComponent without a
        server, ModelError where it does not get ready.
        """
        self.ports = ports
        self._layout = Path(tempfile.mkdtemp(prefix="streamfx-triton-"))
        self._server: subprocess.Popen[bytes] | None = None
        try:
            python, facts = _find_server(venv)
            repositories = [repository or shipped("triton_models"), *also]
            environment = _lay_out(self._layout, repositories, models or {}, facts)
            environment["PATH"] = f"{python.parent}:{os.environ.get('PATH', '')}"
            self._command = [str(python), "-c", _LAUNCH, *_command(self._layout, ports, facts)]
            self._environment, self._log = os.environ | environment, log
            self._start()
        except BaseException:
            self.stop()
            raise

    @property
    def grpc_url(self) -> str:
        """For `serving.triton.url`."""
        return f"{HOST}:{self.ports.grpc}"

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._server is not None
        return self._server.pid

    def wait(self) -> int:
        """Block until the server ends by itself; its exit status.

        A server that has lost a model's process refuses all requests for that model from then on, while its health says
        that all is well. It is started anew here. Raises ModelError where it does not get ready again.
        """
        assert self._server is not None
        while (status := self._server.poll()) is None:
            if self._models - _children(self._server.pid):
                print("a model's process has died; starting the Triton server anew", file=sys.stderr, flush=True)
                self._end(gently=False)
                self._start()
            time.sleep(WATCH_S)
        return status

    def stop(self, gently: bool = True) -> None:
        """End the server and its model processes; SIGTERM first if `gently`. May be called again."""
        self._end(gently)
        shutil.rmtree(self._layout, ignore_errors=True)

    def _start(self) -> None:
        out = self._log or 2
        self._server = subprocess.Popen(
            self._command,
            # The Python of a model takes no PYTHONPATH, and looks first into the working directory.
            cwd=self._layout / PACKAGES,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        self._wait_ready()
        self._models = _children(self._server.pid)

    def _end(self, gently: bool) -> None:
        server = self._server
        if server is not None:
            if gently and server.poll() is None:
                server.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    server.wait(STOP_S)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()
        # A killed server leaves the memory behind that it shared with its model processes.
        for left in Path("/dev/shm").glob(f"{self._layout.name}*"):
            left.unlink(missing_ok=True)

    def _wait_ready(self) -> None:
        assert self._server is not None
        give_up = time.monotonic() + READY_S
        while time.monotonic() < give_up:
            status = self._server.poll()
            if status is not None:
                raise ModelError(
                    f"the Triton server ended with status {status} before it was ready; its log above says why"
                )
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.ports.http}/v2/health/ready", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise ModelError(f"the Triton server was not ready after {READY_S:.0f} s; its log above says why")


def _children(pid: int) -> set[int]:
    """The processes that `pid` has started and that live."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(stat.parent.name))
    return found


def serve(
    ports: Ports = Ports(),
    models: Mapping[str, str] | None = None,
    repository: Path | None = None,
    venv: Path | None = None,
    also: Sequence[Path] = (),
) -> int:
    """Run the local Triton server until it ends or SIGTERM or SIGINT comes; the exit status. See `LocalTriton`."""
    with _stop_signals() as stopped:
        try:
            server = LocalTriton(ports, models, repository, venv, also=also)
        except _Stopped:
            return 0
        try:
            print(
                f"Triton is ready: gRPC {ports.host}:{ports.grpc}{' with TLS' if ports.tls else ''}, "
                f"HTTP {ports.host}:{ports.http}, metrics {ports.host}:{ports.metrics}",
                file=sys.stderr,
            )
            status = server.wait()
        except _Stopped:
            status = 0
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, stopped)
            server.stop()
    return status


class _Stopped(BaseException):
    """SIGTERM or SIGINT came."""


@contextmanager
def _stop_signals() -> Iterator[set[signal.Signals]]:
    """Turn SIGTERM and SIGINT into _Stopped for a while."""

    def stop(signum: int, frame: object) -> None:
        raise _Stopped

    caught = {signal.SIGTERM, signal.SIGINT}
    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            signal.signal(number, handler)


def find_venv(venv: Path | None = None) -> Path:
    """The environment with the server: `venv`, $STREAMFX_TRITON_VENV, `.venv-triton` here or beside the source tree."""
    named = venv or (Path(os.environ[VENV_ENV]) if os.environ.get(VENV_ENV) else None)
    candidates = [named] if named else [Path.cwd() / DEFAULT_VENV, PACKAGE.parent / DEFAULT_VENV]
    for candidate in candidates:
        if (candidate / "bin" / "python3").exists():
            return candidate
    where = " or ".join(str(candidate) for candidate in candidates)
    raise MissingComponent(f"no Triton environment at {where}; make one:\n  {_install(named or Path(DEFAULT_VENV))}")


def _install(venv: Path) -> str:
    place = shlex.quote(str(venv))
    return f"python3 -m venv {place} && {place}/bin/pip install {REQUIREMENTS}"


def _find_server(venv: Path | None) -> tuple[Path, dict[str, Any]]:
    """The environment's python, and what it says of itself; MissingComponent where it lacks something."""
    home = find_venv(venv)
    # Not resolved: following the link would leave the environment.
    python = Path(os.path.abspath(home)) / "bin" / "python3"
    asked = subprocess.run([str(python), "-I", "-c", _ASK], capture_output=True, text=True)
    if asked.returncode:
        raise MissingComponent(
            f"the Triton environment {home} is broken; make it again:\n  {_install(home)}\n{asked.stderr[-500:]}"
        )
    facts: dict[str, Any] = json.loads(asked.stdout)
    if facts["missing"]:
        raise MissingComponent(
            f"the Triton environment {home} lacks {', '.join(facts['missing'])}:\n  {_install(home)}"
        )
    if int(facts["numpy"].split(".")[0]) >= 2:
        raise MissingComponent(
            f"the Triton environment {home} has numpy {facts['numpy']}, beside which this server answers wrongly:\n"
            f"  {_install(home)}"
        )
    return python, facts


def _lay_out(
    layout: Path, repositories: Sequence[Path], models: Mapping[str, str], facts: dict[str, Any]
) -> dict[str, str]:
    """Fill `layout` with backend, models and their packages; the environment variables that the server needs."""
    bundle = Path(facts["site"]) / "pytriton" / "tritonserver"
    stub = bundle / "python_backend_stubs" / facts["python"] / "triton_python_backend_stub"
    if not stub.is_file():
        raise MissingComponent(
            f"nvidia-pytriton has no backend for Python {facts['python']}; make the environment with 3.8 to 3.13"
        )
    backend = layout / "backends" / "python"
    shutil.copytree(
        bundle / "backends" / "python", backend, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__")
    )
    # A copy of its own: the server makes it executable, and may not where another user installed it.
    shutil.copy(stub, backend / stub.name)
    (backend / stub.name).chmod(0o755)
    served = _served(repositories)
    unknown = sorted(set(models) - set(served))
    if unknown:
        where = ", ".join(map(str, repositories))
        raise ModelError(f"no served model {', '.join(unknown)} in {where}; there are: {', '.join(served)}")
    for name, why in _without_weights(served, models):
        print(f"not served, {name}: {why}", file=sys.stderr, flush=True)
        del served[name]
    for name, folder in served.items():
        shutil.copytree(
            folder, layout / "models" / name, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__")
        )
    # So the server and its clients are one version, whatever is installed in the server's environment.
    (layout / PACKAGES).mkdir()
    for package in {PACKAGE, *_packages_of(served)}:
        (layout / PACKAGES / package.name).symlink_to(package)
    environment = {
        "LD_LIBRARY_PATH": f"{facts['site']}/nvidia_pytriton.libs:{facts['lib']}",
        # The server's environment is another one than this.
        FOLDER_ENV: str(outside_folder()),
    }
    for name in served:
        variable = weights_variable(name)
        if weights := models.get(name) or os.environ.get(variable):
            shelf = find_model(name).shelf if name in installed_models() else None
            environment[variable] = str(resolve_model(weights, shelf))
    return environment


def _served(repositories: Sequence[Path]) -> dict[str, Path]:
    """Name -> folder of all models in the repositories, sorted; ModelError for an empty one, or for a name in two."""
    found: dict[str, Path] = {}
    for repository in repositories:
        folders = {config.parent.name: config.parent for config in repository.absolute().glob("*/config.pbtxt")}
        if not folders:
            raise ModelError(f"no Triton models in {repository}: expected folders with a config.pbtxt")
        for name in sorted(set(found) & set(folders)):
            raise ModelError(f"two served models are called {name!r}: {found[name]} and {folders[name]}")
        found |= folders
    return dict(sorted(found.items()))


def _without_weights(served: Mapping[str, Path], models: Mapping[str, str]) -> list[tuple[str, str]]:
    """The models whose weights nobody named, and whose usual ones are not on this machine, each with what is missing: with one
    of them the server would not start at all."""
    found = []
    for name, folder in served.items():
        if name not in installed_models() or name in models or os.environ.get(weights_variable(name)):
            continue
        model = find_model(name)
        if f'"{model.spec.default_weights}"' in (folder / "config.pbtxt").read_text(encoding="utf-8"):
            try:
                resolve_model(model.spec.default_weights, model.shelf)
            except (ModelError, MissingComponent) as error:
                found.append((name, str(error)))
    return found


def _packages_of(served: Iterable[str]) -> list[Path]:
    """Top packages (or modules) of the served models that are installed in this environment; nothing is imported."""
    points = installed_models()
    specs = [find_spec(points[name].module.partition(".")[0]) for name in served if name in points]
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin]
    return [origin.parent if origin.name == "__init__.py" else origin for origin in origins]


def _link(source: str | Path, target: str | Path) -> None:
    Path(target).symlink_to(source)


def _command(layout: Path, ports: Ports, facts: dict[str, Any]) -> list[str]:
    bundle = Path(facts["site"]) / "pytriton" / "tritonserver"
    options = {
        "model-repository": layout / "models",
        "backend-directory": layout / "backends",
        "cache-directory": bundle / "caches",
        "http-address": ports.host,
        "http-port": ports.http,
        "grpc-address": ports.host,
        "grpc-port": ports.grpc,
        "grpc-max-connection-age": CONNECTION_AGE_MS,
        "metrics-address": ports.host,
        "metrics-port": ports.metrics,
        "backend-config": f"python,shm-region-prefix-name={layout.name}",
    }
    if ports.tls:
        certificate, key = ports.tls
        options |= {
            "grpc-use-ssl": "true",
            "grpc-server-cert": certificate.absolute(),
            "grpc-server-key": key.absolute(),
        }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [str(bundle / "bin" / "tritonserver"), "--disable-auto-complete-config", *flags]
