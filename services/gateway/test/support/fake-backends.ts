import { create } from "@bufbuild/protobuf";
import { anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { FeatureIndexService, FeatureIndexSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { InferenceService } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { OperationSchema, OperationService, type Operation } from "@mistral-sae/contracts/mistral_sae/operations/v1/operation";
import { SaeService } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import { TrainingService } from "@mistral-sae/contracts/mistral_sae/training/v1/training";
import { implement, invalidArgument, notFound, resourceExhausted, type RunningServer, startServer } from "@mistral-sae/rpc";
import type { BackendName } from "../../src/config.ts";

/** What the fakes saw. */
export interface Seen {
  readonly aborted: string[];
  readonly headers: Record<string, string | undefined>;
  remainingMs: number | undefined;
  firstStep: Promise<void>;
}

/** Backends on the real contracts, with answers that a test can recognise. */
export interface FakeBackends {
  readonly addresses: Record<BackendName, string>;
  readonly servers: Map<BackendName, RunningServer>;
  readonly seen: Seen;
  close(): Promise<void>;
}

const UNUSED = "127.0.0.1:9";

/** An operation made `age` milliseconds after the beginning of time. */
export function operation(service: string, id: string, age: number): Operation {
  return create(OperationSchema, {
    name: `operations/${service}/${id}`,
    kind: "test",
    createTime: timestampFromMs(age),
    result: { case: "response", value: anyPack(FeatureIndexSchema, create(FeatureIndexSchema, { name: `indexes/${id}` })) },
  });
}

/** Starts inference, training and feature-index; explanation and steering stay away. */
export async function startFakeBackends(): Promise<FakeBackends> {
  const seen: Seen = { aborted: [], headers: {}, remainingMs: undefined, firstStep: Promise.resolve() };
  const servers = new Map<BackendName, RunningServer>();
  servers.set("inference", await startServer({ listen: "127.0.0.1:0", services: [fakeInference(seen), fakeSae(), implement(OperationService, { listOperations: async () => ({}) })] }));
  const operations = (service: string, ages: readonly number[]) => {
    const list = ages.map((age, at) => operation(service, `job-${at}`, age));
    return implement(OperationService, {
      listOperations: async ({ pageSize, pageToken }) => {
        const start = Number(pageToken === "" ? 0 : pageToken);
        const end = start + pageSize;
        return { operations: list.slice(start, end), nextPageToken: end < list.length ? String(end) : "" };
      },
      getOperation: async ({ name }) => {
        const found = list.find((one) => one.name === name);
        if (found === undefined) throw notFound(name);
        return { operation: found };
      },
      async *watchOperation({ name }) {
        yield { operation: list.find((one) => one.name === name) };
      },
    });
  };
  servers.set("training", await startServer({ listen: "127.0.0.1:0", services: [implement(TrainingService, {}), operations("training", [9, 7, 5, 5, 1])] }));
  servers.set("feature-index", await startServer({ listen: "127.0.0.1:0", services: [fakeIndex(), operations("feature-index", [8, 5, 2])] }));
  const addresses = { inference: UNUSED, training: UNUSED, "feature-index": UNUSED, explanation: UNUSED, steering: UNUSED };
  for (const [name, { address }] of servers) addresses[name] = address;
  return {
    addresses,
    servers,
    seen,
    close: async () => {
      await Promise.all([...servers.values()].map((server) => server.close(0)));
    },
  };
}

function fakeInference(seen: Seen) {
  let started: () => void = () => undefined;
  seen.firstStep = new Promise((resolve) => {
    started = resolve;
  });
  return implement(InferenceService, {
    getModel: async ({ name }, context) => {
      for (const header of ["x-request-id", "authorization", "cookie"]) seen.headers[header] = context.header(header);
      seen.remainingMs = context.deadline === undefined ? undefined : context.deadline.getTime() - Date.now();
      if (name === "models/busy") throw resourceExhausted("CONCURRENCY_LIMIT", "too many", 1500);
      if (name === "models/slow") await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
      if (name !== "models/demo") throw invalidArgument("name", `got "${name}", wanted models/demo`, "INVALID_NAME", { known: "demo" });
      return { model: { name, dModel: 256 } };
    },
    async *generate(_request, { signal }) {
      signal.addEventListener("abort", () => seen.aborted.push("generate"));
      for (let step = 0; !signal.aborted; step++) {
        yield { event: { case: "step", value: { variantId: "baseline", step, textDelta: ` ${step}` } } };
        started();
        if (step >= 3) await new Promise((resolve) => setTimeout(resolve, 5));
      }
    },
    async *forward({ hookNames }) {
      yield { hookName: hookNames[0] ?? "", tensor: { dtype: 1, shape: [512, 512], data: new Uint8Array(1 << 20).fill(7) }, last: true };
    },
  });
}

function fakeSae() {
  return implement(SaeService, {
    async *encode(requests) {
      for await (const { chunkId } of requests) yield { chunkId, code: { nTokens: Number(chunkId) } };
    },
  });
}

function fakeIndex() {
  return implement(FeatureIndexService, {
    ingestActivations: async (requests) => {
      const committedSeq: Record<number, bigint> = {};
      for await (const { shard, seq } of requests) committedSeq[shard] = seq;
      return { committedSeq };
    },
  });
}
