# Images of lstmtext, from the packages that `make deb` and `make wheel` have built:
#
#   docker build --tag lstmtext .
#   docker build --tag lstmtext:cuda --target cuda .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" lstmtext train reviews.csv
#
# BASE and PYTHON can name images of a registry of your own.
ARG BASE=debian:bookworm-slim
ARG PYTHON=python:3.12-slim-bookworm
ARG PACKAGES=target/packages

# With CUDA: the wheel, with PyTorch's libraries. The host needs a driver and NVIDIA's container runtime.
FROM ${PYTHON} AS cuda
ARG PACKAGES
COPY ${PACKAGES}/wheels/*.whl /tmp/
RUN pip install --no-cache-dir "$(echo /tmp/lstmtext-*.whl)[cuda]" && rm /tmp/*.whl
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /data
ENTRYPOINT ["lstmtext"]

# On a CPU.
FROM ${BASE} AS cpu
ARG PACKAGES
COPY ${PACKAGES}/*.deb /tmp/
RUN dpkg --install /tmp/lstmtext_*.deb && rm /tmp/*.deb
WORKDIR /data
ENTRYPOINT ["lstmtext"]
