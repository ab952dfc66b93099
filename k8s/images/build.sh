#!/usr/bin/env bash
# Build the images with buildah: needs root, buildah and debootstrap, no daemon and no registry.
#   k8s/images/build.sh [worker] [triton]    both by default; IMAGE_FLAGS are handed to `buildah build`
# TAG_SUFFIX ends the tag of what is built otherwise: -gpu for the worker's GPU=1, -tritonserver for a production Triton. The chart
# asks for these tags where its values ask for GPUs, so that an image without CUDA is never run in their place.
# BASE=debian:bookworm-slim takes the base from a registry; without it, it is made from Debian's packages.
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
