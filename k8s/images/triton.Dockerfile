# The model server's image. The build context is the repository's root.
#   bundled (default)   buildah build -f k8s/images/triton.Dockerfile -t registry.example/streamfx/triton:0.1.0 .
#   production          … --target tritonserver --build-arg TRITON_BASE=<a Triton image with the Python backend>
#                       and `triton.server: tritonserver` in the chart's values
#   both                --build-arg NPM_REGISTRY=<another npm registry>; FETCH_WEIGHTS=0: without weights of others
ARG BASE=debian:bookworm-slim
ARG TRITON_BASE=${BASE}

FROM ${BASE} AS source
COPY pyproject.toml README.md LICENSE requirements/triton-constraints.txt /src/
COPY config /src/config
COPY triton_models /src/triton_models
COPY weights /src/weights
COPY operators /src/operators
COPY streamfx /src/streamfx

# Production: the base image has the server and Python; the Python backend's model also needs torch and this package.
FROM ${TRITON_BASE} AS tritonserver
ARG TORCH_INDEX=https://download.pytorch.org/whl/cu130
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="streamfx triton" \
      org.opencontainers.image.description="Triton with the models of streamfx" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=source /src /src
USER 0
# The server runs the system's Python, whose distribution blocks pip without this setting.
ARG PIP_BREAK_SYSTEM_PACKAGES=1
# The model `ask` needs a language model that the image does not hold, and the server would not start without it.
RUN pip install --quiet --no-cache-dir torch==2.13.0 ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
 && pip install --quiet --no-cache-dir --constraint /src/triton-constraints.txt safetensors numpy \
 && pip install --quiet --no-cache-dir --no-deps /src \
 && mkdir -p /opt/streamfx && mv /src/triton_models /opt/streamfx/triton_models \
 && rm -rf /src /opt/streamfx/triton_models/ask \
 && groupadd --gid 10001 streamfx && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp streamfx
# See the stage `build`. The Python backend's process need not have the prefix of the Python that fetches, so the folder
# is named for both; streamfx's command line has no dependencies here.
ENV HOME=/tmp STREAMFX_OUTSIDE_WEIGHTS=/opt/streamfx/share/streamfx
ARG NPM_REGISTRY=https://registry.npmjs.org
ARG FETCH_WEIGHTS=1
RUN test "${FETCH_WEIGHTS}" = 0 \
 || { npm_config_registry="${NPM_REGISTRY}" \
      python3 -c 'from streamfx.models.outside import OUTSIDE; [weights.fetch() for weights in OUTSIDE.values()]' \
      && chmod -R a+rX /opt/streamfx/share; }
USER 10001:10001
WORKDIR /tmp
CMD ["tritonserver", "--model-repository=/opt/streamfx/triton_models", "--disable-auto-complete-config"]

FROM ${BASE} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates
RUN python3 -m venv /opt/triton
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/triton/bin/pip install --quiet --no-cache-dir torch==2.13.0 ${TORCH_INDEX:+--index-url ${TORCH_INDEX}}
COPY requirements/triton.txt /tmp/triton.txt
COPY --from=source /src /src
# This installs the package without its dependencies for Kafka and Ray; those of its command line are named here.
RUN /opt/triton/bin/pip install --quiet --no-cache-dir --constraint /src/triton-constraints.txt -r /tmp/triton.txt \
    click pydantic pyyaml tqdm \
 && /opt/triton/bin/pip install --quiet --no-cache-dir --no-deps /src \
 && /opt/triton/bin/pip uninstall --quiet --yes pip setuptools
# Weights of others that a shipped model uses, checked by digest, with their licence (MIT). A server never downloads, so
# a build that cannot fetch them fails; without them it serves a model that needs none.
ARG NPM_REGISTRY=https://registry.npmjs.org
ARG FETCH_WEIGHTS=1
RUN test "${FETCH_WEIGHTS}" = 0 \
 || { npm_config_registry="${NPM_REGISTRY}" /opt/triton/bin/streamfx models fetch \
      && chmod -R a+rX /opt/triton/share; }

FROM ${BASE} AS bundled
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="streamfx triton" \
      org.opencontainers.image.description="Triton with the models of streamfx" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Triton starts its models with a program that loads libpython.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 libpython3.11 ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && groupadd --gid 10001 streamfx && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp streamfx
COPY --from=build /opt/triton /opt/triton
ENV PATH=/opt/triton/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 HOME=/tmp STREAMFX_TRITON_VENV=/opt/triton
USER 10001:10001
WORKDIR /tmp
CMD ["streamfx", "triton", "serve"]
