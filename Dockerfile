# The server alone on an empty base: one static program, no shell, no root.
#
#   docker build -t anynode/mcp-server .
#
# It builds with BuildKit and with the builder before it, and with other bases: `.ci/standins` makes some from Debian
# packages where no image can be pulled.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Static, so that the base needs no libc. It goes to the program only: with --target, build scripts and macros are
# compiled without it.
ENV RUSTFLAGS="-C target-feature=+crt-static" CARGO_INCREMENTAL=0

# Dependencies first: this layer is made again only when Cargo.toml or Cargo.lock change.
COPY Cargo.toml Cargo.lock ./
RUN set -eu; rustc --print host-tuple > /target; \
    mkdir -p src tests/it; echo 'fn main() {}' > src/main.rs; touch src/lib.rs tests/it/main.rs; \
    cargo build --locked --release --bin mcp-server --target "$(cat /target)"

COPY settings.default.toml build.rs ./
COPY src src
# What `mcp-server version` says was built: there is no git here.
ARG REVISION=unknown
# What was built of the stand-in above is older than these files say they are.
RUN set -eu; find src build.rs -exec touch {} +; \
    ANYNODE_REVISION="$REVISION" cargo build --locked --release --bin mcp-server --target "$(cat /target)"; \
    cp "target/$(cat /target)/release/mcp-server" /mcp-server; \
    strip /mcp-server; /mcp-server --version

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="anynode" \
      org.opencontainers.image.description="An MCP server that any node can serve" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /mcp-server /mcp-server
# Containers are reached from outside; what is published is for whoever runs them to say.
ENV HOST=0.0.0.0 PORT=3000
EXPOSE 3000
# By number, because Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=10s --retries=3 CMD ["/mcp-server", "health"]
ENTRYPOINT ["/mcp-server"]
