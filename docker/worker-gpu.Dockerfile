# syntax=docker/dockerfile:1
# A worker on one NVIDIA GPU. The CUDA libraries come with the wheels; the driver comes from the host.
# Build from the repository's root: docker build -f docker/worker-gpu.Dockerfile -t penstock-worker-gpu .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The dependencies change seldom and our code often: two layers.
COPY requirements/worker-gpu.txt docker/build-requirements.txt ./
RUN python -m venv /opt/penstock \
 && /opt/penstock/bin/pip install --require-hashes -r worker-gpu.txt \
 && pip install --require-hashes -r build-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY penstock penstock
COPY streams streams
COPY inference_workers inference_workers
COPY autoscaler autoscaler
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/penstock/bin/pip install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Penstock worker (GPU)" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes' runAsNonRoot can check it.
RUN groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/penstock --shell /usr/sbin/nologin penstock \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/penstock
# Read by the NVIDIA container toolkit, which puts the host's driver into the container.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /var/lib/penstock
STOPSIGNAL SIGTERM
# See worker.Dockerfile for the slot's name.
HEALTHCHECK --interval=15s --timeout=10s --start-period=180s --retries=3 \
    CMD exec penstock health worker --state /var/lib/penstock --slot "${SLOT:-gpu-$HOSTNAME}"
CMD ["sh", "-c", "exec penstock worker --config /etc/penstock/penstock.toml --slot \"${SLOT:-gpu-$HOSTNAME}\" --type gpu --device gpu:0"]
