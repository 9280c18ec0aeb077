# The image of hpo's command line, workers and dashboard. docker-compose.yml builds and uses it; by itself:
#
#     docker build --tag hpo-service .
#     docker run --rm --volume "$PWD:/project" hpo-service run studies/digits_dnn.yaml
#
# PyTorch from PyPI includes the libraries for NVIDIA GPUs, several gigabytes, and runs on CPUs as well. Without GPUs,
# build a much smaller image with --build-arg TORCH_INDEX=URL, where URL is the index of the CPU builds that
# pytorch.org lists under 'Get Started'.
FROM python:3.11-slim

ARG TORCH_INDEX=""
# postgres: stores on a server; 'postgres,gpu' adds the package that reads the memory and the load of GPUs
ARG EXTRAS="postgres"

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /build
# a separate layer, so that a change of the code does not download PyTorch again
COPY constraints.txt ./
RUN pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --constraint constraints.txt torch

COPY pyproject.toml README.md LICENSE ./
COPY hpo hpo
COPY models models
COPY studies studies
COPY deploy deploy
RUN pip install --constraint constraints.txt ".[$EXTRAS]" && rm -rf /build/*

RUN useradd --uid 1000 --no-create-home hpo && install --directory --owner hpo --group hpo /project
# a container that runs as another user (docker-compose.yml's HPO_UID) has neither a home nor a user name
ENV HOME=/tmp USER=hpo
USER hpo
# the project folder: models and studies come from there, results go there
WORKDIR /project

ENTRYPOINT ["hpo"]
CMD ["--help"]
