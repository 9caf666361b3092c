import { availableParallelism } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import type { CorpusSource } from "@mistral-sae/corpus";
import { failedPrecondition } from "@mistral-sae/rpc";
import { MatrixProduct, RowEncoder, type SaeWeights } from "@mistral-sae/sae";
import type { InferencePeer } from "../peer/inference-peer.ts";
import type { StageContext } from "../threads/stage-thread.ts";
import { absorptionConstants, letterAbsorption, mainFeatures, probeF1, type LetterAbsorption } from "./absorption.ts";
import { collectRows, type Collected } from "./collect-rows.ts";
import type { Probe } from "./logistic.ts";
import { probeTask, type ProbedTask, type RowTask } from "./probe-task.ts";
import { readTokens, type ProbeTokens } from "./read-tokens.ts";
import { LARGEST_CLASS, makeTasks, SMALLEST_CLASS, type MadeTasks, type Task, type TaskKind } from "./tasks.ts";

/** What to probe. */
export interface ProbePlan {
  readonly hookName: string;
  readonly corpus: CorpusSource;
  readonly tokens: number;
  readonly contextSize: number;
  readonly bosTokenId: number | undefined;
  readonly kinds: readonly TaskKind[];
  /** Ascending, each once. */
  readonly ks: readonly number[];
  readonly maxTasks: number;
  readonly absorption: boolean;
  readonly seed: number;
}

export interface TaskResult extends Omit<ProbedTask, "residualProbe"> {
  readonly name: string;
  readonly kind: TaskKind;
  readonly nTrain: number;
  readonly nTest: number;
}

export interface Probing {
  readonly tasks: readonly TaskResult[];
  /** By letter; undefined when it was not asked for. */
  readonly absorption: readonly (LetterAbsorption & { readonly letter: string })[] | undefined;
  readonly nTokens: number;
}

/** Memory of the rows that are kept, without their codes, bytes. */
const ROWS_BYTES = 512 << 20;

/** Measures k-sparse probing, and absorption where asked for, of an SAE on tasks made from a corpus. Equal plans give equal results. */
export async function probe(plan: ProbePlan, sae: SaeWeights, peer: InferencePeer, context: StageContext): Promise<Probing> {
  const tokens = await readTokens(plan.corpus, plan.tokens, plan, peer, context);
  if (tokens.test.size === 0) throw failedPrecondition("NOTHING_HELD_BACK", "no document of the corpus is held back to test on: give more text");
  const { tasks, empty } = tasksThatFit(plan, tokens, sae.config.dIn, context);
  const few = `at least ${SMALLEST_CLASS.train} tokens of and outside a class to train on, and ${SMALLEST_CLASS.test} to test on`;
  if (tasks.length === 0) throw failedPrecondition("NO_TASKS", `the ${tokens.train.size} + ${tokens.test.size} tokens read give no task, which needs ${few}: give more text or more tokens`);
  for (const kind of empty) context.warn(`no task of kind ${kind}: the tokens read have no class with ${few}`);
  const threads = availableParallelism();
  const encoder = await RowEncoder.open(sae, threads);
  try {
    const collected = await collectRows(tasks, tokens, { hookName: plan.hookName, width: sae.config.dIn }, encoder, peer, context);
    const { results, letters } = await probeTasks(tasks, collected, plan.ks, context);
    const absorption = plan.absorption ? await absorptionOf(letters, collected, encoder, threads, context) : undefined;
    return { tasks: results, absorption, nTokens: tokens.train.size + tokens.test.size };
  } finally {
    await encoder.close();
  }
}

/** Tasks with classes as large as memory allows. */
function tasksThatFit(plan: ProbePlan, tokens: ProbeTokens, dIn: number, context: StageContext): MadeTasks {
  const { kinds, maxTasks, contextSize, seed } = plan;
  const most = Math.floor(ROWS_BYTES / (dIn * Float32Array.BYTES_PER_ELEMENT));
  for (let part = 1; ; part *= 2) {
    const largestClass = { train: Math.ceil(LARGEST_CLASS.train / part), test: Math.ceil(LARGEST_CLASS.test / part) };
    const made = makeTasks(tokens, { kinds, maxTasks, contextSize, seed, largestClass });
    const kept = (side: "train" | "test"): number => new Set(made.tasks.flatMap((task) => [...task[side].positive, ...task[side].negative])).size;
    if (kept("train") + kept("test") <= most || largestClass.test <= SMALLEST_CLASS.test) {
      if (part > 1) context.warn(`a class has at most ${largestClass.train} tokens to train on and ${largestClass.test} to test on instead of ${LARGEST_CLASS.train} and ${LARGEST_CLASS.test}: rows of ${dIn} take much memory`);
      return made;
    }
  }
}

interface LetterTask {
  readonly letter: string;
  readonly task: RowTask;
  readonly probe: Probe;
}

async function probeTasks(tasks: readonly Task[], { rows, rowTask }: Collected, ks: readonly number[], context: StageContext): Promise<{ results: TaskResult[]; letters: LetterTask[] }> {
  const results: TaskResult[] = [];
  const letters: LetterTask[] = [];
  for (const { name, kind, ...examples } of tasks) {
    context.progress({ stage: "probe", doneUnits: results.length, totalUnits: tasks.length, unit: "tasks" });
    // Lets a stop come in.
    await turn();
    context.signal.throwIfAborted();
    const task = rowTask(examples);
    const { residualProbe, ...figures } = probeTask(task, rows, ks);
    results.push({ name, kind, nTrain: task.train.rows.length, nTest: task.test.rows.length, ...figures });
    if (kind === "letter") letters.push({ letter: name.slice("letter:".length), task, probe: residualProbe });
  }
  return { results, letters };
}

async function absorptionOf(letters: readonly LetterTask[], { rows }: Collected, encoder: RowEncoder, threads: number, context: StageContext): Promise<(LetterAbsorption & { letter: string })[]> {
  const { dIn, dSae } = encoder.codec.sae.config;
  const { wDec } = encoder.codec.sae;
  const lengths = encoder.directionLengths();
  const scale = encoder.directionScales();
  const product = await MatrixProduct.open(threads);
  const found: (LetterAbsorption & { letter: string })[] = [];
  try {
    for (const [at, { letter, task, probe: residual }] of letters.entries()) {
      context.progress({ stage: "absorption", doneUnits: at, totalUnits: letters.length, unit: "letters" });
      await turn();
      context.signal.throwIfAborted();
      const f1 = probeF1(task, rows, residual);
      if (f1 < absorptionConstants.leastProbeF1) {
        context.warn(`absorption leaves out the letter ${letter}: the probe on the model's activations has F1 ${f1.toFixed(3)}, wanted at least ${absorptionConstants.leastProbeF1}`);
        continue;
      }
      const length = Math.hypot(...residual.weights);
      const projections = await product.run(Float32Array.from(residual.weights, (weight) => weight / length), wDec, new Float32Array(dSae), dIn);
      if (scale !== undefined) for (let feature = 0; feature < dSae; feature += 1) projections[feature] = (projections[feature] as number) * (scale[feature] as number);
      found.push({ letter, ...letterAbsorption(task, rows, residual, mainFeatures(task, rows), { projections, lengths }) });
    }
  } finally {
    await product.close();
  }
  return found;
}
