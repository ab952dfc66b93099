#!/usr/bin/env bash
# Builds the images with buildah. Needs root, buildah and debootstrap, but neither a daemon nor a registry.
#   k8s/images/build.sh [worker] [triton]    both by default; IMAGE_FLAGS are passed to `buildah build`
# TAG_SUFFIX is added to the tag of other builds: -gpu for the worker's GPU=1, -tritonserver for a production Triton. The
# chart asks for these tags if its values ask for GPUs, so that an image without CUDA is never used by mistake.
# BASE=debian:bookworm-slim takes the base image from a registry; by default it is made from Debian's packages.
set -euo pipefail
cd "$(dirname "$0")/../.."
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} STORAGE_DRIVER=${STORAGE_DRIVER:-vfs}
version=$(sed -n 's/^appVersion: //p' k8s/chart/Chart.yaml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
source=${SOURCE:-$(git remote get-url origin 2>/dev/null || echo unknown)}
certificates=/etc/ssl/certs/ca-certificates.crt

if [ -z "${BASE:-}" ]; then
  BASE=localhost/debian:bookworm-slim
  if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=python3,ca-certificates bookworm "$root/tree" >/dev/null
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$root/tree" / >/dev/null
    buildah commit --quiet --rm "$container" "$BASE" >/dev/null
  fi
fi
[ $# -gt 0 ] || set -- worker triton
for image in "$@"; do
  # shellcheck disable=SC2086
  buildah build --network host --volume "$certificates:$certificates:ro" --ignorefile .containerignore \
    --build-arg BASE="$BASE" --build-arg VERSION="$version" --build-arg REVISION="$revision" --build-arg SOURCE="$source" ${IMAGE_FLAGS:-} \
    --file "k8s/images/$image.Dockerfile" --tag "localhost/streamfx/$image:$version${TAG_SUFFIX:-}" .
done
