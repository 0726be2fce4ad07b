# syntax=docker/dockerfile:1
# A worker on CPU cores.
# Build from the repository's root: docker build -f docker/worker.Dockerfile -t penstock-worker .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The dependencies change seldom and our code often: two layers.
COPY requirements/worker.txt docker/build-requirements.txt ./
RUN python -m venv /opt/penstock \
 && /opt/penstock/bin/pip install --require-hashes -r worker.txt \
 && pip install --require-hashes -r build-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY penstock penstock
COPY streams streams
COPY inference_workers inference_workers
COPY autoscaler autoscaler
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/penstock/bin/pip install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Penstock worker (CPU)" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes' runAsNonRoot can check it.
RUN groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/penstock --shell /usr/sbin/nologin penstock \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/penstock
USER 10001:10001
WORKDIR /var/lib/penstock
STOPSIGNAL SIGTERM
# The slot's name must be its own among all workers of the pipeline and stay the same over restarts. A container's host
# name does both; set SLOT where something better is known (the pod's name of a StatefulSet).
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=3 \
    CMD exec penstock health worker --state /var/lib/penstock --slot "${SLOT:-cpu-$HOSTNAME}"
CMD ["sh", "-c", "exec penstock worker --config /etc/penstock/penstock.toml --slot \"${SLOT:-cpu-$HOSTNAME}\" --type cpu"]
