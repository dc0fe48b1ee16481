# The package with its pinned set. How to build and use it: docs/container.md
FROM docker.io/library/debian:bookworm-slim AS python
# git, as a run notes the commit of the project that it is in, whoever owns that folder.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system safe.directory '*' \
    && python3 -m venv /opt/benchmark
ENV PATH=/opt/benchmark/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM python AS wheel
COPY . /source
RUN pip wheel --no-deps --wheel-dir /wheel /source

FROM python
# For a build without CUDA: https://download.pytorch.org/whl/cpu
ARG PIP_EXTRA_INDEX_URL=
COPY constraints.txt /opt/benchmark/
# By itself, as it is by far the largest layer and seldom another one.
RUN pip install --constraint /opt/benchmark/constraints.txt torch
COPY --from=wheel /wheel /opt/benchmark/wheel
RUN pip install --constraint /opt/benchmark/constraints.txt /opt/benchmark/wheel/*.whl
# Whoever the user is, libraries find a name and a folder for their caches; nvidia-smi tells which GPUs are there.
ENV HOME=/tmp USER=user NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /project
ENTRYPOINT ["benchmark"]
CMD ["--help"]
