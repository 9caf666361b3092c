import { createHash } from "node:crypto";
import { totalmem } from "node:os";
import { clone, create, equals } from "@bufbuild/protobuf";
import { TrainingConfigSchema } from "@mistral-sae/contracts/mistral_sae/training/v1/config";
import { CreateSweepRequestSchema, type CreateSweepRequest } from "@mistral-sae/contracts/mistral_sae/training/v1/sweep";
import { alreadyExists, Code, invalidArgument, requireId, RpcError } from "@mistral-sae/rpc";
import { resolveTrainerConfig, trainingMemory } from "@mistral-sae/sae";
import { once, type RunMaker } from "../runs/run-maker.ts";
import { runName } from "../runs/run-message.ts";
import type { RunFacts, RunStore } from "../runs/run-store.ts";
import { trainerOptions } from "../runs/trainer-config.ts";
import { type Combination, combinations, MOST_COMBINATIONS } from "./combinations.ts";
import { sweepName, sweepRunId } from "./sweep-message.ts";
import type { SweepFacts, SweepRow, SweepStore } from "./sweep-store.ts";

/** A sweep that a request asks for: one that is there, or one to be started with its runs. */
export type AskedSweep = { readonly kind: "known"; readonly sweep: SweepRow } | { readonly kind: "new"; readonly facts: SweepFacts; readonly runs: readonly RunFacts[] };

/** An id leaves room for the number of a run. */
const LONGEST_ID = 63 - `-${MOST_COMBINATIONS}`.length;
const MOST_PARALLEL = 64;

/** Turns requests into sweeps, with every run checked before any work. */
export class SweepMaker {
  readonly #runs: RunStore;
  readonly #sweeps: SweepStore;
  readonly #maker: RunMaker;

  constructor(runs: RunStore, sweeps: SweepStore, maker: RunMaker) {
    this.#runs = runs;
    this.#sweeps = sweeps;
    this.#maker = maker;
  }

  /** @throws RpcError INVALID_ARGUMENT naming the field and the combination; ALREADY_EXISTS when an id belongs to something else. */
  async ask(request: CreateSweepRequest, signal: AbortSignal): Promise<AskedSweep> {
    const asked = { ...clone(CreateSweepRequestSchema, request), validateOnly: false };
    const repeated = request.requestId === "" ? undefined : this.#sweeps.byRequestId(request.requestId);
    if (repeated !== undefined) return { kind: "known", sweep: requireSameRequest(repeated, asked) };
    const id = request.sweepId === "" ? undefined : requireId("sweep_id", request.sweepId);
    if (id !== undefined && id.length > LONGEST_ID) throw invalidArgument("sweep_id", `got ${id.length} characters, wanted at most ${LONGEST_ID}: its runs add a number`);
    if (request.parallelRuns > MOST_PARALLEL) throw invalidArgument("parallel_runs", `got ${request.parallelRuns}, wanted at most ${MOST_PARALLEL}`);
    const combined = combinations(request.config ?? create(TrainingConfigSchema), request.axes);
    const checked = await this.#checked(combined, signal);
    requireMemoryTogether(checked, request.parallelRuns);
    const identity = createHash("sha256").update(JSON.stringify(checked.map((run, at) => [run.identity, combined[at]?.values]))).digest("hex");
    const facts: SweepFacts = { id: id ?? `sweep-${identity.slice(0, 12)}`, identity, asked, values: combined.map(({ values }) => values) };
    const known = this.#sweeps.byId(facts.id);
    if (known !== undefined) {
      if (known.identity === identity) return { kind: "known", sweep: known };
      throw alreadyExists(sweepName(facts.id), "was made with another configuration, model or corpus: give another sweep_id, or none to have one made");
    }
    const runs = checked.map((run, at) => ({ ...run, id: sweepRunId(facts.id, at) }));
    const taken = [facts.id, ...runs.map((run) => run.id)].find((name) => this.#runs.byId(name) !== undefined);
    if (taken !== undefined) throw alreadyExists(runName(taken), "is there already: give another sweep_id");
    return { kind: "new", facts, runs };
  }

  async #checked(combined: readonly Combination[], signal: AbortSignal): Promise<RunFacts[]> {
    const read = once();
    const runs: RunFacts[] = [];
    for (const { config, values } of combined) {
      try {
        runs.push(await this.#maker.facts("", config, read, signal));
      } catch (error) {
        throw error instanceof RpcError && error.code === Code.InvalidArgument ? inCombination(error, values) : error;
      }
    }
    return runs;
  }
}

/** The same refusal, saying of which run. */
function inCombination(error: RpcError, values: Readonly<Record<string, string>>): RpcError {
  const where = Object.entries(values).map(([field, value]) => `${field} ${value}`).join(", ");
  const message = `${error.message} (of the run with ${where})`;
  return new RpcError(error.code, message, { reason: error.reason, metadata: error.metadata, violations: error.violations, cause: error });
}

/** Runs that are trained at the same time need their memory at the same time. */
function requireMemoryTogether(runs: readonly RunFacts[], parallel: number): void {
  if (parallel < 2) return;
  const sizes = runs.map(({ config, model }) => trainingMemory(resolveTrainerConfig(trainerOptions(config, model))).total).toSorted((a, b) => b - a);
  const together = sizes.slice(0, parallel).reduce((sum, size) => sum + size, 0);
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  if (together > totalmem()) throw invalidArgument("parallel_runs", `got ${parallel}: the largest runs together need ${gib(together)}, and this machine has ${gib(totalmem())}; wanted fewer`);
}

function requireSameRequest(sweep: SweepRow, asked: CreateSweepRequest): SweepRow {
  if (equals(CreateSweepRequestSchema, sweep.asked, asked)) return sweep;
  throw new RpcError(Code.AlreadyExists, `request_id "${asked.requestId}" has started ${sweepName(sweep.id)} with another request: use a new request_id`, {
    reason: "REQUEST_ID_REUSED",
    metadata: { sweep: sweepName(sweep.id) },
  });
}
