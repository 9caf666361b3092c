# syntax=docker/dockerfile:1
# The training service. Build from the project's root: docker build -f deploy/images/training.Dockerfile -t mistral-sae/training:0.1.0 .
FROM node:24.21.0-bookworm-slim AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip NX_DAEMON=false
COPY package.json package-lock.json .npmrc nx.json tsconfig.base.json buf.yaml buf.gen.yaml ./
COPY proto proto
COPY libs libs
COPY services/training services/training
# Contracts and kernels are generated with the development packages, which then stay behind.
RUN npm install --ignore-scripts && npx nx run-many -t generate --outputStyle=static
RUN rm -rf node_modules && npm install --ignore-scripts --omit=dev --workspace @mistral-sae/training && rm -rf node_modules/node-linux-*

FROM node:24.21.0-bookworm-slim
WORKDIR /app
COPY --from=build /app /app
USER 65532:65532
ENV NODE_ENV=production
CMD ["node", "services/training/src/main.ts"]
