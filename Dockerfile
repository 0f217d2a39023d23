# docker build --tag sresnet .
# docker run --rm --volume "$PWD/runs:/data/runs" sresnet train digits --report
#
# On Linux pip's own index has torch with gigabytes for GPUs. For a small image, name one with CPU builds:
# docker build --build-arg PIP_EXTRA_INDEX_URL=... --tag sresnet .
FROM python:3.12-slim
ARG PIP_EXTRA_INDEX_URL=""
# The compiler is for the fast kernel, which is compiled for the processor at hand on first use.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt torch numpy
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt ".[demo,images,events,report,onnx,nir,search]" \
 && useradd --create-home --uid 1000 user && install --directory --owner user /data
USER user
WORKDIR /data
ENTRYPOINT ["sresnet"]
CMD ["list"]
