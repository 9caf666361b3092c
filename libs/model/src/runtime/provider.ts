import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { InferenceSession } from "onnxruntime-node";
import type { ExecutionProvider } from "../graph/model-source.ts";
import { Graph } from "../onnx/graph.ts";

/** What each provider needs beside the npm package, which carries the CPU's and WebGPU's code only. */
const needs: Readonly<Record<ExecutionProvider, string>> = {
  cpu: "nothing more",
  cuda: "an NVIDIA GPU with its driver, the CUDA 13 runtime libraries (cudart, cublas, cublasLt, curand), and libonnxruntime_providers_shared.so and libonnxruntime_providers_cuda.so of the same version of onnxruntime beside its binding",
  webgpu: "a GPU with a Vulkan driver and libvulkan.so.1 (in a container the graphics capability of the NVIDIA runtime)",
};

/** Throws InputError, naming what is missing, unless the provider runs here. There is no fall-back to another one. */
export async function requireProvider(provider: ExecutionProvider): Promise<void> {
  if (!Object.hasOwn(needs, provider)) throw new InputError("unknown execution provider", { field: "provider", got: provider, wanted: Object.keys(needs).join(", ") });
  if (provider === "cpu") return;
  const missing = provider === "cuda" ? missingLibraries() : [];
  if (missing.length > 0) throw refusal(provider, `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not there`);
  try {
    const g = new Graph("probe");
    g.output("y", "float32", [1], g.op("Neg", [g.input("x", "float32", [1])]));
    await (await InferenceSession.create(g.modelBytes(), { executionProviders: [provider], logSeverityLevel: 4 })).release();
  } catch (error) {
    throw refusal(provider, error instanceof Error ? error.message.trim() : String(error), error);
  }
}

function refusal(provider: ExecutionProvider, reason: string, cause?: unknown): InputError {
  return new InputError(`the execution provider cannot run here: ${reason}`, { field: "provider", got: provider, wanted: needs[provider] }, cause === undefined ? undefined : { cause });
}

function missingLibraries(): string[] {
  const library = dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json"));
  const folder = join(library, "bin", "napi-v6", process.platform, process.arch);
  return ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"].filter((name) => !existsSync(join(folder, name))).map((name) => join("onnxruntime-node", "bin", "napi-v6", process.platform, process.arch, name));
}
