# The service in an image of its own: docs/operations.md, "In a container".
#
#   docker build -t ironflow-sync .

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin ironflow-sync \
    && install -D target/release/ironflow-sync /out/ironflow-sync

FROM debian:bookworm-slim
# For key sets and databases that are reached by TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /out/ironflow-sync /usr/local/bin/ironflow-sync
# Nobody: the service writes no file. Its data is in the Postgres that DATABASE_URL names, there is none in here.
USER 10001:10001
ENV IRONFLOW_LISTEN=0.0.0.0:50051
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["ironflow-sync", "health"]
ENTRYPOINT ["ironflow-sync"]
