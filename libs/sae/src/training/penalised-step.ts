import type { ResolvedTrainerConfig } from "./config.ts";
import { requireFiniteLoss } from "./finite.ts";
import type { GradientStep } from "./gradient-step.ts";
import { PenalisedProducts, type Tile } from "./penalised-products.ts";
import { keepThresholds } from "./penalised-state.ts";
import { Arg } from "./phase-args.ts";
import { type Gradients, reduceDecoderBias, type StepParts } from "./step-context.ts";

/** Kinds of sparsity loss, as assembly/penal-formula.ts numbers them. */
const Penalty = { l1: 0, lp: 1, step: 2, tanh: 3 } as const;

/**
 * Loss and gradients of standard, gated and jumprelu SAEs as SAELens trains them, in the space of the normalised rows x:
 * S·mean((x̂ - x)²), with S = d_out the sum over columns, plus the mean over rows of the sparsity loss, which decoder norms n_f weigh:
 * standard λ·(Σ (z_f·n_f)^p)^(1/p); jumprelu λ·Σ [pre_f > θ_f] or λ·Σ tanh(s·z_f·n_f); gated λ·Σ relu(gate_f)·n_f and, as
 * auxiliary loss, the error of the reconstruction by relu(gate), of which nothing is detached.
 * Pre-activation loss of jumprelu (Conerly et al. 2025): c·Σ relu(θ_f - pre_f)·n_f over dead latents, this batch counted.
 *
 * Few active entries are listed by latent and by row, and the kernels do the rest; many go through dense products. The batch itself decides.
 */
export class PenalisedStep implements GradientStep {
  readonly #parts: StepParts;
  readonly #products: PenalisedProducts;

  private constructor(parts: StepParts, products: PenalisedProducts) {
    this.#parts = parts;
    this.#products = products;
  }

  static async create(parts: StepParts): Promise<PenalisedStep> {
    const { layout, shared } = parts.memory;
    return new PenalisedStep(parts, await PenalisedProducts.create(layout, shared.memory));
  }

  async gradients(): Promise<Gradients> {
    const { config, memory, team } = this.#parts;
    const { at, batch, dOut, h, threads, penalised } = memory.layout;
    const { gated, mostListed } = penalised!;
    const { args, kernels } = team;
    const weight = sparsityCoefficient(config, memory.step) / batch;
    const scale = memory.mseScale / (batch * dOut);
    this.#writeNumbers(weight);
    args[Arg.gScale] = 2 * scale;
    await this.#products.encode();
    this.#zero(at.rowCursors, threads * batch * 4);
    this.#zero(at.rowPowers, threads * batch * 8);
    const dense = team.run("penalScan") > mostListed;
    const penalty = dense ? await this.#decodeDense() : this.#decodeListed();
    const errorSquares = team.run("penalErrors");
    const gateSquares = gated ? team.run("penalGateErrors") : 0;
    const sparsityLoss = weight * (penalty + this.#rowNorms(weight));
    requireFiniteLoss(this.#parts, errorSquares + gateSquares + sparsityLoss);
    const fired = new Uint32Array(memory.buffer, at.counts, h);
    let entries = 0;
    for (const rows of fired) entries += rows;
    const deadRows = Math.ceil(config.deadFeatureWindowTokens);
    const numDead = kernels.ageLatents(at.counts, memory.sinceAt, memory.nextSinceAt, 0, batch, deadRows, at.dead, h);
    if (dense) await this.#differentiateDense();
    else team.run("penalLatents");
    args[Arg.preAct] = numDead > 0 ? config.preActLossCoefficient / batch : 0;
    args[Arg.since] = memory.nextSinceAt;
    args[Arg.deadRows] = deadRows;
    if (args[Arg.preAct]! > 0) this.#sumInput();
    const squares = team.run("penalFinish");
    let auxLoss = scale * gateSquares;
    for (const loss of new Float64Array(memory.buffer, at.deadLosses, threads)) auxLoss += loss;
    return { mseLoss: scale * errorSquares, innerLoss: 0, auxLoss, sparsityLoss, errorSquares, entries, numDead, squares: squares + reduceDecoderBias(this.#parts) };
  }

  afterUpdate(): void {
    keepThresholds(this.#parts.memory);
  }

  async close(): Promise<void> {
    await this.#products.close();
  }

  #writeNumbers(weight: number): void {
    const { config, memory } = this.#parts;
    const { architecture, lpNorm, jumpreluSparsityLossMode: mode, jumpreluBandwidth, jumpreluTanhScale, jumpreluSteToInput } = config;
    const { at, penalised } = memory.layout;
    const kind = architecture === "jumprelu" ? Penalty[mode] : lpNorm === 1 ? Penalty.l1 : Penalty.lp;
    new Float32Array(memory.buffer, at.penalty, 7).set([penalised!.gated ? 1 : 0, kind, weight, lpNorm, jumpreluBandwidth, jumpreluTanhScale, jumpreluSteToInput ? 1 : 0]);
  }

  /** Lists the entries and reconstructs from the lists; returns the sparsity loss without its coefficient. */
  #decodeListed(): number {
    const { memory, team } = this.#parts;
    const { at, batch, h, threads } = memory.layout;
    team.kernels.placeLatents(at.counts, at.offsets, h);
    const cursors = new Uint32Array(memory.buffer, at.rowCursors, threads * batch);
    const starts = new Uint32Array(memory.buffer, at.rowStarts, batch + 1);
    let sum = 0;
    for (let b = 0; b < batch; b++) {
      starts[b] = sum;
      for (let place = b; place < cursors.length; place += batch) {
        const entries = cursors[place]!;
        cursors[place] = sum;
        sum += entries;
      }
    }
    starts[batch] = sum;
    const penalty = team.run("penalPlace");
    team.run("penalRows");
    return penalty;
  }

  async #decodeDense(): Promise<number> {
    const { memory, team } = this.#parts;
    const { at, stride, penalised } = memory.layout;
    this.#zero(at.g, (penalised!.codeRow / 4) * stride);
    let penalty = 0;
    for (const tile of this.#products.tiles) {
      this.#setTile(tile);
      penalty += team.run("penalDense");
      await this.#products.decode(tile);
      team.run("penalAdd");
    }
    return penalty;
  }

  async #differentiateDense(): Promise<void> {
    for (const tile of this.#products.tiles) {
      await this.#products.slopes(tile);
      this.#setTile(tile);
      this.#parts.team.run("penalSlopes");
      await this.#products.gradients(tile);
    }
  }

  #setTile({ first, end }: Tile): void {
    const { args } = this.#parts.team;
    args[Arg.tileStart] = first;
    args[Arg.tileEnd] = end;
  }

  /** Of a p-norm: its sum over the rows, with the rows' factors of its derivative, weight·N^(1-p), written down. Else 0. */
  #rowNorms(weight: number): number {
    const { config, memory } = this.#parts;
    const { at, batch, threads } = memory.layout;
    const { lpNorm: p } = config;
    if (p === 1) return 0;
    const powers = new Float64Array(memory.buffer, at.rowPowers, threads * batch);
    const factors = new Float32Array(memory.buffer, at.rowFactors, batch);
    let norms = 0;
    for (let b = 0; b < batch; b++) {
      let power = 0;
      for (let place = b; place < powers.length; place += batch) power += powers[place]!;
      const norm = power ** (1 / p);
      factors[b] = norm > 0 ? weight * norm ** (1 - p) : 0;
      norms += norm;
    }
    return norms;
  }

  /** The sum of the encoder's input over the rows. */
  #sumInput(): void {
    const { memory } = this.#parts;
    const { at, batch, stride } = memory.layout;
    const rows = new Float32Array(memory.buffer, at.centered, (batch * stride) / 4);
    const sums = new Float64Array(stride / 4);
    for (let place = 0; place < rows.length; ) for (let i = 0; i < sums.length; i++) sums[i]! += rows[place++]!;
    new Float32Array(memory.buffer, at.inputSum, sums.length).set(sums);
  }

  #zero(offset: number, bytes: number): void {
    new Uint8Array(this.#parts.memory.buffer, offset, bytes).fill(0);
  }
}

/** The coefficient of the sparsity loss at a step, 0 for the first: it grows linearly from 0 over its warm-up (SAELens). */
export function sparsityCoefficient(config: Pick<ResolvedTrainerConfig, "architecture" | "l0Coefficient" | "l0WarmUpSteps" | "l1Coefficient" | "l1WarmUpSteps">, step: number): number {
  const [full, warmUp] = config.architecture === "jumprelu" ? [config.l0Coefficient, config.l0WarmUpSteps] : [config.l1Coefficient, config.l1WarmUpSteps];
  return step < warmUp ? (full * step) / warmUp : full;
}
