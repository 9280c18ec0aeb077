# syntax=docker/dockerfile:1
# The image of hpo's command line, workers and server. docker-compose.yml builds and uses it; by itself:
#
#     docker build --tag hpo-service .
#     docker run --rm --volume "$PWD:/project" hpo-service run studies/digits_dnn.yaml
#
# VARIANT=cpu is for machines without a GPU; VARIANT=cuda has NVIDIA's libraries, several gigabytes, and runs on CPUs too.
FROM python:3.11-slim AS wheel
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY hpo hpo
COPY models models
COPY studies studies
COPY deploy deploy
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
ARG VARIANT="cpu"
# where pip finds PyTorch's builds without NVIDIA's libraries
ARG TORCH_CPU_INDEX="https://download.pytorch.org/whl/cpu"
# of pyproject.toml: postgres is for stores on a server
ARG EXTRAS="postgres,tensorboard,notify"
ARG UID=1000
ARG GID=1000

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

WORKDIR /build
# One layer for all dependencies: a change of the code downloads none of them again.
COPY pyproject.toml constraints.txt deploy/requirements.py ./
RUN python requirements.py "$EXTRAS" > requirements.txt && \
    case "$VARIANT" in \
        cpu) pip install --extra-index-url "$TORCH_CPU_INDEX" --constraint constraints.txt -r requirements.txt ;; \
        cuda) pip install --constraint constraints.txt -r requirements.txt ;; \
        *) echo "VARIANT=$VARIANT: should be cpu or cuda" >&2; exit 2 ;; \
    esac
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install --no-deps /wheels/*.whl

# The project: models and studies come from there. The artifacts: checkpoints and logs go there.
RUN install --directory --owner "$UID" --group "$GID" /project /artifacts
# The user has neither a home nor a name, and writes temporary files only.
ENV HOME=/tmp USER=hpo
USER ${UID}:${GID}
WORKDIR /project

ENTRYPOINT ["hpo"]
CMD ["--help"]
