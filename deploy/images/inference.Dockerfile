# syntax=docker/dockerfile:1
# The inference service. Build from the project's root: docker build -f deploy/images/inference.Dockerfile -t mistral-sae/inference:0.1.0 .
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip NX_DAEMON=false
COPY package.json package-lock.json .npmrc nx.json tsconfig.base.json buf.yaml buf.gen.yaml ./
COPY proto proto
COPY libs libs
COPY services/inference services/inference
# Contracts and kernels are generated with the development packages, which then stay behind.
RUN npm install --ignore-scripts && npx nx run-many -t generate --outputStyle=static
RUN rm -rf node_modules && npm install --ignore-scripts --omit=dev --workspace @mistral-sae/inference && rm -rf node_modules/node-linux-*

# docker build --target cuda: the same service with the CUDA provider. onnxruntime-node's package has none; it loads
# the libraries of the Python wheel of the same version.
FROM python:3.12-slim-bookworm AS cuda-provider
RUN pip download --no-deps --dest /wheel onnxruntime-gpu==1.30.0 && python -m zipfile -e /wheel/*.whl /provider

FROM nvidia/cuda:13.0.1-runtime-ubuntu24.04 AS cuda
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /app /app
COPY --from=cuda-provider /provider/onnxruntime/capi/libonnxruntime_providers_cuda.so /provider/onnxruntime/capi/libonnxruntime_providers_shared.so /app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64/
WORKDIR /app
USER 65532:65532
ENV NODE_ENV=production MISTRAL_SAE_INFERENCE_PROVIDER=cuda
CMD ["node", "services/inference/src/main.ts"]

FROM node:24.21.0-bookworm-slim AS cpu
WORKDIR /app
COPY --from=build /app /app
USER 65532:65532
ENV NODE_ENV=production
CMD ["node", "services/inference/src/main.ts"]
