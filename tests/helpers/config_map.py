"""A folder as Kubernetes mounts a ConfigMap: the file is a link through `..data`, which updates swap atomically."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class ConfigMapFolder:
    """One file, `pipeline.yaml`, in a mounted ConfigMap."""

    def __init__(self, folder: Path, config: Mapping[str, Any]):
        self._folder = folder
        folder.mkdir()
        self.file = folder / "pipeline.yaml"
        self.update(config)
        self.file.symlink_to("..data/pipeline.yaml")

    def update(self, config: Mapping[str, Any]) -> None:
        """Update as the kubelet does: make a new folder, swap the link in one step, delete the old folder."""
        data, name = self._folder / "..data", f"..{uuid.uuid4().hex}"
        old = data.resolve() if data.exists() else None
        (self._folder / name).mkdir()
        (self._folder / name / "pipeline.yaml").write_text(yaml.safe_dump(dict(config)))
        (self._folder / "..data_tmp").symlink_to(name)
        os.replace(self._folder / "..data_tmp", data)
        if old is not None:
            shutil.rmtree(old)
