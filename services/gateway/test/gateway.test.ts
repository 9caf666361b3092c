import { createClient, RpcError, startServer, type RunningServer, Code } from "@mistral-sae/rpc";
import { FeatureIndexService } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationService } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { ServerReflection } from "@mistral-sae/contracts/grpc/reflection/v1/reflection";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { gatewayServices } from "../src/gateway.ts";
import { startFakeBackends, type FakeBackends } from "./support/fake-backends.ts";

let fakes: FakeBackends;
let gateway: RunningServer;

beforeAll(async () => {
  fakes = await startFakeBackends();
  gateway = await startServer({ listen: "127.0.0.1:0", services: gatewayServices(fakes.addresses) });
});

afterAll(async () => {
  await gateway.close(0);
  await fakes.close();
});

async function refused(call: Promise<unknown>): Promise<RpcError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RpcError);
  return error as RpcError;
}

describe("calls go to the service that owns them", () => {
  test("a unary call", async () => {
    const { model } = await createClient(InferenceService, gateway.address).getModel({ name: "models/demo" });
    expect(model?.dModel).toBe(256);
  });

  test("a server stream, a full tensor plane in one message", async () => {
    const rows = [];
    for await (const row of createClient(InferenceService, gateway.address).forward({ hookNames: ["blocks.0.hook_resid_pre"] })) rows.push(row);
    expect(rows).toHaveLength(1);
    expect(rows[0]?.tensor?.data).toEqual(new Uint8Array(1 << 20).fill(7));
  });

  test("a client stream", async () => {
    async function* chunks() {
      yield { index: "indexes/a", shard: 0, seq: 0n };
      yield { shard: 0, seq: 1n };
      yield { shard: 4, seq: 9n };
    }
    const { committedSeq } = await createClient(FeatureIndexService, gateway.address).ingestActivations(chunks());
    expect(committedSeq).toEqual({ 0: 1n, 4: 9n });
  });

  test("a stream in both directions answers each message before the next is sent", async () => {
    const answered: bigint[] = [];
    let release: (() => void) | undefined;
    async function* chunks() {
      for (const chunkId of [1n, 2n, 3n]) {
        yield { chunkId };
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      }
    }
    for await (const { chunkId } of createClient(SaeService, gateway.address).encode(chunks())) {
      answered.push(chunkId);
      release?.();
    }
    expect(answered).toEqual([1n, 2n, 3n]);
  });
});

describe("what a backend says arrives unchanged", () => {
  test("code, reason, metadata and field of a refused request", async () => {
    const error = await refused(createClient(InferenceService, gateway.address).getModel({ name: "models/none" }));
    expect(error).toMatchObject({
      code: Code.InvalidArgument,
      reason: "INVALID_NAME",
      metadata: { known: "demo" },
      violations: [{ field: "name", description: 'got "models/none", wanted models/demo' }],
    });
  });

  test("the delay after which to try again", async () => {
    const error = await refused(createClient(InferenceService, gateway.address).getModel({ name: "models/busy" }));
    expect(error).toMatchObject({ code: Code.ResourceExhausted, reason: "CONCURRENCY_LIMIT", retryDelayMs: 1500 });
  });

  test("a method that is not offered", async () => {
    const error = await refused(createClient(InferenceService, gateway.address).logitLens({}));
    expect(error.code).toBe(Code.Unimplemented);
  });

  test("a backend that is away is named with its address", async () => {
    const error = await refused(createClient(SteeringService, gateway.address).findFeatures({ query: "dogs" }));
    expect(error).toMatchObject({ code: Code.Unavailable, reason: "BACKEND_DOWN" });
    expect(error.message).toContain("steering service at 127.0.0.1:9");
  });
});

describe("what a caller says arrives too", () => {
  test("the deadline, a little shorter, and the headers that matter", async () => {
    const client = createClient(InferenceService, gateway.address);
    await client.getModel({ name: "models/demo" }, { timeoutMs: 20_000, headers: { "x-request-id": "r1", authorization: "Bearer k", cookie: "no" } });
    expect(fakes.seen.headers).toEqual({ "x-request-id": "r1", authorization: "Bearer k", cookie: undefined });
    expect(fakes.seen.remainingMs).toBeGreaterThan(0);
    expect(fakes.seen.remainingMs).toBeLessThan(20_000);
  });

  test("a deadline that passes ends the call with DEADLINE_EXCEEDED", async () => {
    const error = await refused(createClient(InferenceService, gateway.address).getModel({ name: "models/slow" }, { timeoutMs: 200 }));
    expect(error.code).toBe(Code.DeadlineExceeded);
  });

  test("cancelling a stream ends it in the backend", async () => {
    fakes.seen.aborted.length = 0;
    const cancel = new AbortController();
    const stream = createClient(InferenceService, gateway.address).generate({}, { signal: cancel.signal });
    await expect(async () => {
      for await (const _ of stream) cancel.abort();
    }).rejects.toThrow(RpcError);
    await vi.waitFor(() => expect(fakes.seen.aborted).toEqual(["generate"]));
  });

  test("a caller that stops reading ends the stream in the backend", async () => {
    fakes.seen.aborted.length = 0;
    for await (const { event } of createClient(InferenceService, gateway.address).generate({})) {
      if (event.case === "step" && event.value.step === 2) break;
    }
    await vi.waitFor(() => expect(fakes.seen.aborted).toEqual(["generate"]));
  });
});

describe("operations", () => {
  const client = () => createClient(OperationService, gateway.address);

  test("go to the service in their name", async () => {
    const { operation } = await client().getOperation({ name: "operations/feature-index/job-1" });
    expect(operation?.name).toBe("operations/feature-index/job-1");
    const watched = [];
    for await (const one of client().watchOperation({ name: "operations/training/job-0" })) watched.push(one.operation?.name);
    expect(watched).toEqual(["operations/training/job-0"]);
  });

  test("of a service that does not exist are not found, and the known ones are named", async () => {
    const error = await refused(client().getOperation({ name: "operations/gardening/1" }));
    expect(error.code).toBe(Code.NotFound);
    expect(error.message).toContain("training, feature-index");
  });

  test("of a service that is away cannot be had, and it is named", async () => {
    expect((await refused(client().getOperation({ name: "operations/steering/1" }))).reason).toBe("BACKEND_DOWN");
  });

  test("are listed newest first over all services, page by page, and absent services are named", async () => {
    const names: string[] = [];
    const unreachable: string[] = [];
    let pageToken = "";
    do {
      const page = await client().listOperations({ pageSize: 2, pageToken });
      expect(page.operations.length).toBeLessThanOrEqual(2);
      names.push(...page.operations.map(({ name }) => name.slice("operations/".length)));
      unreachable.push(...page.unreachable);
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(unreachable).toEqual(["explanation", "steering"]);
    expect(names).toEqual([
      "training/job-0",
      "feature-index/job-0",
      "training/job-1",
      "training/job-2",
      "training/job-3",
      "feature-index/job-1",
      "feature-index/job-2",
      "training/job-4",
    ]);
  });

  test("a page token of another request is refused", async () => {
    const { nextPageToken } = await client().listOperations({ pageSize: 1 });
    const error = await refused(client().listOperations({ pageSize: 1, pageToken: nextPageToken, kinds: ["train"] }));
    expect(error).toMatchObject({ code: Code.InvalidArgument, reason: "PAGE_TOKEN_INVALID" });
  });
});

test("reflection lists every service and resolves methods and error details", async () => {
  const client = createClient(ServerReflection, gateway.address);
  async function* ask() {
    yield { messageRequest: { case: "listServices" as const, value: "" } };
    yield { messageRequest: { case: "fileContainingSymbol" as const, value: "mistral_sae.steering.v1.SteeringService.Steer" } };
    yield { messageRequest: { case: "fileContainingSymbol" as const, value: "google.rpc.ErrorInfo" } };
  }
  const answers = [];
  for await (const { messageResponse } of client.serverReflectionInfo(ask())) answers.push(messageResponse);
  const listed = answers[0]?.case === "listServicesResponse" ? answers[0].value.service.map(({ name }) => name) : [];
  for (const area of ["inference", "sae", "training", "feature_index", "explanation", "steering", "operations"]) {
    expect(listed.some((name) => name.startsWith(`mistral_sae.${area}.v1.`))).toBe(true);
  }
  expect(answers.slice(1).map((answer) => answer.case)).toEqual(["fileDescriptorResponse", "fileDescriptorResponse"]);
});
