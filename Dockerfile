# distgan in a container, as user 1000, without this repository.
#   docker build --tag distgan .                                                      torch for CUDA, several GB
#   docker build --tag distgan --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .              for CPUs
#   docker run --rm --init --gpus all --shm-size 8g --volume "$PWD:/work" distgan train
# More processes: --entrypoint accelerate distgan launch -m distgan.train. The directory must be writable for user 1000, or
# give --user "$(id -u)". Stop it with `docker stop --time 120`, which leaves time to save.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=https://pypi.org/simple
ARG EXTRAS=quality,jpeg,onnx,film
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/distgan
ENV PATH=/opt/distgan/bin:$PATH
WORKDIR /source
# torch first, as pyproject.toml asks for it: this layer stays when only distgan changes
# hadolint ignore=DL3013
RUN pip install --index-url "${TORCH_INDEX}" "torch>=2.6,<2.14"
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY configs configs
COPY launch/slurm.sbatch launch/slurm.sbatch
COPY distgan distgan
# hadolint ignore=DL3013
RUN pip install ".[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
# a C compiler: torch.compile (train.compile) makes programs with it
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home distgan \
    && install --directory --owner 1000 --group 1000 /work
COPY --from=build /opt/distgan /opt/distgan
ENV PATH=/opt/distgan/bin:$PATH PYTHONUNBUFFERED=1
USER 1000:1000
WORKDIR /work
ENTRYPOINT ["distgan"]
CMD ["--help"]
