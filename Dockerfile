# The Airbyte source, as target `destination` the Airbyte destination, and as target
# `sync` the program by itself. Airbyte starts the entry point with a verb and in a
# working directory of its own, so every path here is absolute.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY src ./src
COPY spec ./spec
COPY catalogs ./catalogs
COPY integration_tests/main.rs ./integration_tests/main.rs
# DuckDB is compiled in, so that the image needs no library beside the program.
# What `--version` says of it: --build-arg TAPELINE_COMMIT=$(git rev-parse HEAD)
ARG TAPELINE_COMMIT=
RUN cargo build --release --locked --bin tapeline

FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 1000 airbyte \
    && useradd --uid 1000 --gid airbyte --create-home --home-dir /airbyte airbyte \
    && mkdir -p /secrets /config /custom_cache \
    && chown airbyte:airbyte /airbyte /secrets /config /custom_cache
COPY --from=build /build/target/release/tapeline /airbyte/tapeline
WORKDIR /airbyte
# The user airbyte by number: Kubernetes cannot tell from a name that it is not root.
USER 1000:1000

# The program by itself, for cron and Dagster: the pipeline is mounted at /config,
# and a DuckDB file belongs on a volume too.
FROM base AS sync
ENTRYPOINT ["/airbyte/tapeline"]
CMD ["sync", "/config/pipeline.yaml"]

FROM base AS destination
ENV AIRBYTE_ENTRYPOINT="/airbyte/tapeline destination"
LABEL io.airbyte.name="tapeline/destination-tapeline" io.airbyte.version="0.1.0"
ENTRYPOINT ["/airbyte/tapeline", "destination"]

FROM base AS source
ENV AIRBYTE_ENTRYPOINT="/airbyte/tapeline"
LABEL io.airbyte.name="tapeline/source-polygon" io.airbyte.version="0.1.0"
ENTRYPOINT ["/airbyte/tapeline"]
