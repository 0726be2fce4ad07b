# syntax=docker/dockerfile:1
# The autoscaler; it also creates the topics (penstock topics).
# Build from the repository's root: docker build -f docker/autoscaler.Dockerfile -t penstock-autoscaler .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
# The dependencies change seldom and our code often: two layers.
COPY requirements/autoscaler.txt docker/build-requirements.txt ./
RUN python -m venv /opt/penstock \
 && /opt/penstock/bin/pip install --require-hashes -r autoscaler.txt \
 && pip install --require-hashes -r build-requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY penstock penstock
COPY streams streams
COPY inference_workers inference_workers
COPY autoscaler autoscaler
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/penstock/bin/pip install --no-deps --no-index /wheels/*.whl

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Penstock autoscaler" org.opencontainers.image.licenses="Apache-2.0"
# A number, so that Kubernetes' runAsNonRoot can check it.
RUN groupadd --gid 10001 penstock \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/penstock --shell /usr/sbin/nologin penstock \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/penstock
COPY --from=build /opt/penstock /opt/penstock
ENV PATH=/opt/penstock/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/penstock
USER 10001:10001
WORKDIR /var/lib/penstock
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["penstock", "health", "autoscaler", "--state", "/var/lib/penstock"]
CMD ["penstock", "autoscaler", "--config", "/etc/penstock/penstock.toml", "--actuator", "advisory"]
