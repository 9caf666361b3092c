import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { Health, HealthCheckResponse_ServingStatus } from "@mistral-sae/contracts/grpc/health/v1/health";
import { ServerReflection } from "@mistral-sae/contracts/grpc/reflection/v1/reflection";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, createClient, implement, invalidArgument, resourceExhausted, type RpcError, type RunningServer, startServer } from "../src/index.ts";

class InputError extends Error {
  override readonly name = "InputError";
  readonly field = "sae_id";
}

let aborted = 0;
let server: RunningServer;

const inference = implement(InferenceService, {
  getModel: ({ name }) => {
    if (name === "full") return Promise.reject(resourceExhausted("CONCURRENCY_LIMIT", "try later", 1500));
    if (name === "input") return Promise.reject(new InputError("got 1, wanted 2"));
    if (name === "bug") return Promise.reject(new TypeError("undefined is not a function"));
    if (name === "") return Promise.reject(invalidArgument("name", "got nothing, wanted models/{model}"));
    return Promise.resolve({ model: { name } });
  },
  async *forward() {
    for (let promptIndex = 0; promptIndex < 20; promptIndex++) {
      ROWS.fill(promptIndex);
      yield { promptIndex, tensor: { data: new Uint8Array(ROWS.buffer) } };
    }
  },
  async *generate({ model }, { signal }) {
    signal.addEventListener("abort", () => (aborted += 1));
    const steps = model === "endless" ? Number.POSITIVE_INFINITY : 5;
    for (let step = 0; step < steps; step++) {
      if (signal.aborted) return;
      yield { event: { case: "step" as const, value: { step, textDelta: "x".repeat(1000) } } };
      if (step % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  },
});

/** Rows whose memory is used again for the next message. */
const ROWS = new Float32Array(50_000);

const sae = implement(SaeService, {
  async *encode(requests) {
    for await (const { chunkId } of requests) {
      if (chunkId === 3n) throw invalidArgument("chunk_id", "got 3, wanted another");
      yield { chunkId };
    }
  },
});

beforeAll(async () => {
  server = await startServer({ listen: "127.0.0.1:0", services: [inference, sae] });
});
afterAll(() => server.close(100));

const failure = async (promise: Promise<unknown>): Promise<RpcError> =>
  promise.then(
    () => expect.unreachable("it should have failed"),
    (error: unknown) => error as RpcError,
  );

describe("calls over gRPC", () => {
  it("carries a unary call", async () => {
    const reply = await createClient(InferenceService, server.address).getModel({ name: "models/demo" });
    expect(reply.model?.name).toBe("models/demo");
  });

  it("streams from server to client, in order", async () => {
    const steps: number[] = [];
    for await (const { event } of createClient(InferenceService, server.address).generate({ model: "short" })) {
      if (event.case === "step") steps.push(event.value.step);
    }
    expect(steps).toEqual([0, 1, 2, 3, 4]);
  });

  it("sends what was yielded, though the handler uses the memory again", async () => {
    let seen = 0;
    for await (const { promptIndex, tensor } of createClient(InferenceService, server.address).forward({})) {
      const values = new Float32Array((tensor?.data ?? new Uint8Array()).slice().buffer);
      expect(values).toHaveLength(ROWS.length);
      expect(values.every((value) => value === promptIndex)).toBe(true);
      seen += 1;
    }
    expect(seen).toBe(20);
  });

  it("streams both ways and fails in the middle with the field named", async () => {
    const client = createClient(SaeService, server.address);
    const got: bigint[] = [];
    async function* chunks() {
      for (let chunkId = 0n; chunkId < 5n; chunkId++) yield { chunkId };
    }
    const run = async () => {
      for await (const { chunkId } of client.encode(chunks())) got.push(chunkId);
    };
    const error = await failure(run());
    expect(got).toEqual([0n, 1n, 2n]);
    expect(error.violations).toEqual([{ field: "chunk_id", description: "got 3, wanted another" }]);
  });

  it("aborts the handler when the client cancels", async () => {
    const before = aborted;
    const abort = new AbortController();
    const run = async () => {
      let n = 0;
      for await (const _ of createClient(InferenceService, server.address).generate({ model: "endless" }, { signal: abort.signal })) {
        if (++n === 10) abort.abort();
      }
    };
    expect((await failure(run())).code).toBe(Code.Canceled);
    await expect.poll(() => aborted).toBe(before + 1);
  });

  it("aborts the handler when the deadline passes", async () => {
    const before = aborted;
    const run = async () => {
      for await (const _ of createClient(InferenceService, server.address).generate({ model: "endless" }, { timeoutMs: 50 }));
    };
    expect((await failure(run())).code).toBe(Code.DeadlineExceeded);
    await expect.poll(() => aborted).toBe(before + 1);
  });
});

describe("errors over gRPC", () => {
  const client = () => createClient(InferenceService, server.address);

  it("keep code, reason and the delay before a retry", async () => {
    const error = await failure(client().getModel({ name: "full" }));
    expect([error.code, error.reason, error.retryDelayMs]).toEqual([Code.ResourceExhausted, "CONCURRENCY_LIMIT", 1500]);
  });

  it("turn a library's InputError into INVALID_ARGUMENT with its field", async () => {
    const error = await failure(client().getModel({ name: "input" }));
    expect([error.code, error.violations[0]?.field]).toEqual([Code.InvalidArgument, "sae_id"]);
  });

  it("turn a bug into INTERNAL", async () => {
    expect((await failure(client().getModel({ name: "bug" }))).code).toBe(Code.Internal);
  });

  it("answer UNIMPLEMENTED for a method left out", async () => {
    expect((await failure(client().listModels({}))).code).toBe(Code.Unimplemented);
  });

  it("refuse a message above the limit, on either side, and take a document of many MiB", async () => {
    const long = "x".repeat(5 << 20);
    expect((await failure(client().tokenize({ prompts: [{ prompt: { case: "text", value: long } }] }))).code).toBe(Code.Unimplemented);
    expect((await client().getModel({ name: long })).model?.name).toHaveLength(long.length);

    const narrow = createClient(InferenceService, server.address, { maxReceiveBytes: 1 << 20 });
    expect((await failure(narrow.getModel({ name: long }))).code).toBe(Code.ResourceExhausted);
    const strict = await startServer({ listen: "127.0.0.1:0", services: [inference], maxReceiveBytes: 1 << 20 });
    expect((await failure(createClient(InferenceService, strict.address).getModel({ name: long }))).code).toBe(Code.ResourceExhausted);
    await strict.close(100);
  });
});

describe("health and reflection", () => {
  it("tells the health of each service and refuses unknown ones", async () => {
    const health = createClient(Health, server.address);
    expect((await health.check({ service: InferenceService.typeName })).status).toBe(HealthCheckResponse_ServingStatus.SERVING);
    expect((await failure(health.check({ service: "none" }))).code).toBe(Code.NotFound);
  });

  it("streams a change of health", async () => {
    const health = createClient(Health, server.address);
    const seen: HealthCheckResponse_ServingStatus[] = [];
    for await (const { status } of health.watch({ service: SaeService.typeName })) {
      seen.push(status);
      if (seen.length === 1) server.setServing(SaeService.typeName, false);
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([HealthCheckResponse_ServingStatus.SERVING, HealthCheckResponse_ServingStatus.NOT_SERVING]);
    server.setServing(SaeService.typeName, true);
  });

  it("resolves a symbol to its file and all its imports", async () => {
    const reflection = createClient(ServerReflection, server.address);
    async function* ask() {
      yield { messageRequest: { case: "fileContainingSymbol" as const, value: "mistral_sae.inference.v1.GenerateRequest" } };
    }
    const names: string[] = [];
    for await (const { messageResponse } of reflection.serverReflectionInfo(ask())) {
      if (messageResponse.case !== "fileDescriptorResponse") continue;
      for (const bytes of messageResponse.value.fileDescriptorProto) names.push(fromBinary(FileDescriptorProtoSchema, bytes).name);
    }
    expect(names).toContain("mistral_sae/inference/v1/inference.proto");
    expect(names).toContain("google/rpc/status.proto");
  });
});
