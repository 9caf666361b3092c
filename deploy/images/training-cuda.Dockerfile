# syntax=docker/dockerfile:1
# The training service with onnxruntime's CUDA provider, which the npm package does not carry. Build from the project's root:
# docker build -f deploy/images/training-cuda.Dockerfile -t mistral-sae/training-cuda:0.1.0 .
FROM python:3.12-slim-bookworm AS provider
# The version of onnxruntime-node: its core loads these libraries, and they must be of the same build.
ARG ONNXRUNTIME=1.30.0
WORKDIR /provider
RUN pip download --no-deps --only-binary=:all: "onnxruntime-gpu==${ONNXRUNTIME}" && python -m zipfile -e onnxruntime_gpu-*.whl wheel
RUN mkdir lib && cp wheel/onnxruntime/capi/libonnxruntime_providers_cuda.so wheel/onnxruntime/capi/libonnxruntime_providers_shared.so lib/

FROM node:24.21.0-bookworm-slim AS node

FROM node AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip NX_DAEMON=false
COPY package.json package-lock.json .npmrc nx.json tsconfig.base.json buf.yaml buf.gen.yaml ./
COPY proto proto
COPY libs libs
COPY services/training services/training
# Contracts and kernels are generated with the development packages, which then stay behind.
RUN npm install --ignore-scripts && npx nx run-many -t generate --outputStyle=static
RUN rm -rf node_modules && npm install --ignore-scripts --omit=dev --workspace @mistral-sae/training && rm -rf node_modules/node-linux-*
COPY --from=provider /provider/lib/ node_modules/onnxruntime-node/bin/napi-v6/linux/x64/

# cudart, cublas, cublasLt and curand of CUDA 13; the driver comes from the node.
FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04
COPY --from=node /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY --from=build /app /app
USER 65532:65532
ENV NODE_ENV=production MISTRAL_SAE_TRAINING_PROVIDER=cuda
CMD ["node", "services/training/src/main.ts"]
