# seqmill in a slim image: a wheel built in the first stage, nothing but Python and it in the second.
#
#   docker build -t seqmill .
#   docker run --rm -v "$PWD:/data" seqmill convert reads.bam -o reads.parquet
#
# perf, for `seqmill profile`, is not small and not for everybody:
#   docker build -t seqmill:perf --build-arg PERF=1 .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev make rustup \
    && rm -rf /var/lib/apt/lists/*
RUN rustup default stable
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir "maturin>=1.9,<2" \
    && maturin build --profile dist --locked --out /wheels

FROM python:${PYTHON}-slim
ARG PERF=0
# procps: Nextflow asks `ps` for the figures of its reports.
RUN apt-get update \
    && apt-get install -y --no-install-recommends procps \
    && if [ "$PERF" = 1 ]; then apt-get install -y --no-install-recommends linux-perf; fi \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --find-links /wheels "seqmill[arrow,report]"
# A user of the host, chosen with --user, has no home folder here.
ENV MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache
WORKDIR /data
CMD ["seqmill", "--help"]
