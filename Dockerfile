# Untested. Uses the same lists of packages as `make setup`.
#   docker build --tag ffcv-engine .
#   docker run --rm --gpus all --volume "$PWD/runs:/ffcv-engine/runs" ffcv-engine
FROM python:3.11-slim-bookworm

WORKDIR /ffcv-engine
COPY tools/apt.txt tools/apt.txt
RUN apt-get update \
    && apt-get install -y --no-install-recommends make gcc $(cat tools/apt.txt) \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN PIP_NO_CACHE_DIR=1 make setup

CMD ["make", "train"]
