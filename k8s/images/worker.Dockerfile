# The image of supervisor, Ray head and Ray workers. The build context is the repository's root.
#   CPU (default)   buildah build -f k8s/images/worker.Dockerfile -t registry.example/streamfx/worker:0.1.0 .
#   GPU             … --build-arg GPU=1 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
#   both            --build-arg NPM_REGISTRY=<another npm registry>; FETCH_WEIGHTS=0: without weights of others
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates
RUN python3 -m venv /opt/streamfx
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# This comes first and alone, because it is a large layer that rarely changes.
RUN /opt/streamfx/bin/pip install --quiet --no-cache-dir torch==2.13.0 ${TORCH_INDEX:+--index-url ${TORCH_INDEX}}
COPY pyproject.toml README.md LICENSE /src/
COPY requirements /src/requirements
COPY config /src/config
COPY triton_models /src/triton_models
COPY weights /src/weights
COPY operators /src/operators
COPY streamfx /src/streamfx
ARG GPU=0
RUN extra=$(test "${GPU}" = 0 && echo '[s3,otel]' || echo '[s3,otel,gpu]') \
 && /opt/streamfx/bin/pip install --quiet --no-cache-dir --constraint /src/requirements/worker-constraints.txt "/src${extra}" \
 && /opt/streamfx/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes -r /src/requirements/centerface.txt \
 && /opt/streamfx/bin/pip uninstall --quiet --yes pip setuptools \
 && rm /opt/streamfx/lib/python3*/site-packages/virtualenv/seed/wheels/embed/*.whl
# Weights of others that a shipped model uses, checked by digest, with their licence (MIT). A line never downloads, so
# a build that cannot fetch them fails; without them the line takes a model that needs none, and says so.
ARG NPM_REGISTRY=https://registry.npmjs.org
ARG FETCH_WEIGHTS=1
RUN test "${FETCH_WEIGHTS}" = 0 \
 || { npm_config_registry="${NPM_REGISTRY}" /opt/streamfx/bin/streamfx models fetch \
      && chmod -R a+rX /opt/streamfx/share; }

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="streamfx worker" \
      org.opencontainers.image.description="Supervisor, Ray head and Ray workers of streamfx" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && groupadd --gid 10001 streamfx && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp streamfx
COPY --from=build /opt/streamfx /opt/streamfx
# KubeRay starts Ray from a login shell, which resets PATH.
RUN ln -s /opt/streamfx/bin/streamfx /opt/streamfx/bin/ray /usr/local/bin/
ENV PATH=/opt/streamfx/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
WORKDIR /tmp
CMD ["streamfx", "--help"]
