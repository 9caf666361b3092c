import * as ort from "onnxruntime-node";
import { sessionOptions } from "../../session-options.ts";
import type { ResolvedTrainerConfig } from "../config.ts";
import { NonFiniteError } from "../non-finite-error.ts";
import { learningRate } from "../schedule.ts";
import type { StepEngine } from "../step-engine.ts";
import type { TrainerMemory } from "../trainer-memory.ts";
import type { TrainerMetrics } from "../trainer-port.ts";
import { buildTrainingLoop, carriedMatrices, carriedVectors, stepReport } from "./step-graph.ts";
import type { LoopProvider } from "./loop-trainer.ts";

const matrixRegions = { w_enc: "wEnc", w_dec: "wDec", m_w_enc: "mEnc", m_w_dec: "mDec", v_w_enc: "vEnc", v_w_dec: "vDec" } as const satisfies Record<(typeof carriedMatrices)[number], string>;
const vectorRegions = { b_dec: "bDec", m_b_dec: "mBDec", v_b_dec: "vBDec" } as const satisfies Record<(typeof carriedVectors)[number], string>;

type Report = Readonly<Record<(typeof stepReport)[number], number>>;

/** Runs training steps as one ONNX Loop: weights and moments go from the trainer's memory to the provider and come back once a run. */
export class LoopEngine implements StepEngine {
  readonly stepsPerRun: number;
  readonly #config: ResolvedTrainerConfig;
  readonly #memory: TrainerMemory;
  readonly #session: ort.InferenceSession;
  /** [K, B, S] */
  readonly #rows: Float32Array;

  private constructor(config: ResolvedTrainerConfig, memory: TrainerMemory, session: ort.InferenceSession) {
    this.#config = config;
    this.#memory = memory;
    this.#session = session;
    this.stepsPerRun = config.batchSlots;
    this.#rows = new Float32Array((this.stepsPerRun * memory.layout.batch * memory.layout.stride) / 4);
  }

  /** Takes a memory that holds initial or restored weights. */
  static async start(config: ResolvedTrainerConfig, memory: TrainerMemory, provider: LoopProvider): Promise<LoopEngine> {
    const graph = buildTrainingLoop(config, memory.layout.stride / 4);
    const session = await ort.InferenceSession.create(graph, { executionProviders: [provider], ...sessionOptions(config.threads) });
    return new LoopEngine(config, memory, session);
  }

  async steps(slots: readonly number[]): Promise<(TrainerMetrics | Error)[]> {
    const first = await this.#run(slots);
    const bad = first.reports.findIndex(({ errorSquares, auxLoss, gradientSquares }) => !Number.isFinite(errorSquares + auxLoss + gradientSquares));
    if (bad < 0) return this.#keep(first);
    // The steps before the bad one again, from the weights that memory still holds: a loop gives its last state only.
    const done = bad === 0 ? [] : this.#keep(await this.#run(slots.slice(0, bad)));
    const error = new NonFiniteError(this.#memory.step + 1, this.#culprit(slots[bad]!, first.reports[bad]!));
    return [...done, error, ...(bad + 1 < slots.length ? await this.steps(slots.slice(bad + 1)) : [])];
  }

  async close(): Promise<void> {
    await this.#session.release();
  }

  async #run(slots: readonly number[]): Promise<{ readonly outputs: ort.InferenceSession.ReturnType; readonly reports: readonly Report[] }> {
    const outputs = await this.#session.run(this.#feeds(slots));
    const told = floats(outputs["report"]);
    const reports = slots.map((_, i) => Object.fromEntries(stepReport.map((name, at) => [name, told[i * stepReport.length + at]!])) as Report);
    return { outputs, reports };
  }

  #feeds(slots: readonly number[]): Record<string, ort.Tensor> {
    const { layout, mseScale, inputScale, step } = this.#memory;
    const { batch, h, stride } = layout;
    const { adamBeta1, adamBeta2, weightDecay } = this.#config;
    const [K, width] = [slots.length, stride / 4];
    const perStep = (value: (lr: number, t: number) => number): ort.Tensor => new ort.Tensor("float32", Float32Array.from(slots, (_, i) => value(learningRate(step + i, this.#config), step + i + 1)), [K]);
    const scalar = (value: number): ort.Tensor => new ort.Tensor("float32", Float32Array.of(value), []);
    for (const [i, slot] of slots.entries()) this.#rows.set(this.#memory.slot(slot), i * batch * width);
    const feeds: Record<string, ort.Tensor> = {
      steps: new ort.Tensor("int64", BigInt64Array.of(BigInt(K)), []),
      rows: new ort.Tensor("float32", this.#rows.subarray(0, K * batch * width), [K, batch, width]),
      step_size: perStep((lr, t) => lr / (1 - adamBeta1 ** t)),
      unbias2: perStep((_, t) => 1 / Math.sqrt(1 - adamBeta2 ** t)),
      decay: perStep((lr) => 1 - lr * weightDecay),
      mse_scale: scalar(mseScale),
      input_scale: scalar(inputScale),
      whitening_mean: new ort.Tensor("float32", this.#memory.whitening("mean"), [layout.whitens ? width : 0]),
      whitening_matrix: new ort.Tensor("float32", this.#memory.whitening("rows"), layout.whitens ? [width, width] : [0]),
      since: new ort.Tensor("int64", new BigInt64Array(this.#memory.buffer, this.#memory.sinceAt, h), [h]),
    };
    for (const name of carriedMatrices) feeds[name] = new ort.Tensor("float32", this.#memory.matrix(matrixRegions[name]), [h, width]);
    for (const name of carriedVectors) feeds[name] = new ort.Tensor("float32", this.#memory.vector(vectorRegions[name]), [width]);
    return Object.fromEntries(this.#session.inputNames.map((name) => [name, feeds[name]!]));
  }

  /** Writes what a run made to memory, and says what its steps did. */
  #keep({ outputs, reports }: { readonly outputs: ort.InferenceSession.ReturnType; readonly reports: readonly Report[] }): TrainerMetrics[] {
    const memory = this.#memory;
    for (const name of carriedMatrices) memory.matrix(matrixRegions[name]).set(floats(outputs[`next_${name}`]));
    for (const name of carriedVectors) memory.vector(vectorRegions[name]).set(floats(outputs[`next_${name}`]));
    const since = outputs["next_since"]?.data;
    if (!(since instanceof BigInt64Array)) throw new Error("the training loop gave no counters");
    memory.since.set(new BigUint64Array(since.buffer, since.byteOffset, since.length));
    const before = memory.step;
    memory.step = before + reports.length;
    return reports.map((report, i) => this.#metrics(report, before + i));
  }

  #metrics({ errorSquares, rowSquares, auxLoss, entries, numDead, gradientSquares }: Report, before: number): TrainerMetrics {
    const { batch, d, h } = this.#memory.layout;
    const mseLoss = (this.#memory.mseScale * errorSquares) / (batch * d);
    return {
      step: before + 1,
      nTrainingTokens: (before + 1) * batch,
      loss: mseLoss + auxLoss,
      mseLoss,
      auxLoss,
      sparsityLoss: 0,
      fvu: rowSquares > 0 ? errorSquares / rowSquares : 0,
      l0: entries / batch,
      numDead,
      deadFraction: numDead / h,
      gradNorm: Math.sqrt(gradientSquares),
      lr: learningRate(before, this.#config),
      topkThreshold: undefined,
      nResampled: 0,
    };
  }

  #culprit(slot: number, { errorSquares, auxLoss }: Report): string {
    if (!this.#memory.slot(slot).every(Number.isFinite)) return "the batch";
    if (!Number.isFinite(errorSquares)) return "the squared error";
    return Number.isFinite(auxLoss) ? "the gradient's norm" : "the auxiliary loss";
  }
}

function floats(tensor: ort.Tensor | undefined): Float32Array {
  if (tensor?.data instanceof Float32Array) return tensor.data;
  throw new Error("the training loop gave no float32 value where one was asked for");
}
