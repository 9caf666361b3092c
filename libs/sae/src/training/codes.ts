import { BatchSelector } from "./batch-selector.ts";
import type { ResolvedTrainerConfig } from "./config.ts";
import type { DenseEncoder } from "./dense-encoder.ts";
import type { TrainerEncoder } from "./encoder.ts";
import type { KernelTeam } from "./kernel-team.ts";
import { Arg } from "./phase-args.ts";
import { Preselection } from "./preselection.ts";
import type { TrainerMemory } from "./trainer-memory.ts";

/** Squared errors of a reconstruction, summed over the batch. */
export interface ErrorSquares {
  readonly outer: number;
  /** Of the nested levels within, together; 0 without levels. */
  readonly inner: number;
}

/** How the features of a batch are chosen, and where their entries lie for the rest of the step. */
export interface Codes {
  /** Chooses `k` features a row, or k·batch of the whole batch, of the rows in `centered`. */
  encode(k: number): Promise<void>;
  /** Reconstructs the batch: g = gScale·error, and dz of every entry. */
  decode(): ErrorSquares;
  /** Adds the entries of every latent to `counts`; returns how many there are. */
  count(): number;
  /** Reconstructs the residual from the dead latents that were encoded: see gao-step. Returns Σ (ê - e)². */
  decodeAux(): number;
  /** Adds the auxiliary entries to `counts`. */
  countAux(): void;
  /** Sorts the entries by latent, once `counts` says where; `auxiliary` ones after those of the batch. */
  place(auxiliary: boolean): void;
  /** The smallest value that the last batch kept, where all rows share one bound. */
  readonly smallest: number | undefined;
}

/** The k largest pre-activations of every row: topk. */
export class TopCodes implements Codes {
  smallest: number | undefined = undefined;
  protected readonly memory: TrainerMemory;
  protected readonly team: KernelTeam;
  readonly #encoder: Pick<TrainerEncoder, "encode">;

  constructor(memory: TrainerMemory, team: KernelTeam, encoder: TrainerEncoder) {
    this.memory = memory;
    this.team = team;
    this.#encoder = team.scores ? new Preselection(memory, team, encoder) : encoder;
  }

  async encode(k: number): Promise<void> {
    this.team.args[Arg.k] = Math.round(k);
    await this.#encoder.encode(Math.round(k));
  }

  decode(): ErrorSquares {
    return { outer: this.team.run("decode"), inner: 0 };
  }

  count(): number {
    const { at, batch } = this.memory.layout;
    return this.team.kernels.countEntries(at.vals, at.idx, batch * this.team.args[Arg.k]!, at.counts);
  }

  decodeAux(): number {
    return this.team.run("decodeAux");
  }

  countAux(): void {
    const { at, batch } = this.memory.layout;
    this.team.kernels.countEntries(at.auxVals, at.auxIdx, batch * this.team.args[Arg.auxK]!, at.counts);
  }

  place(auxiliary: boolean): void {
    const { at, batch, stride } = this.memory.layout;
    const { args, kernels } = this.team;
    if (auxiliary) kernels.placeEntries(at.auxVals, at.auxIdx, at.auxDz, batch, args[Arg.auxK]!, at.g2, at.centered, stride, at.counts, at.entries);
    else kernels.placeEntries(at.vals, at.idx, at.dz, batch, args[Arg.k]!, at.g, at.centered, stride, at.counts, at.entries);
  }
}

/** The k pre-activations of every row that are largest without their sign, and with it from then on: abstopk. */
export class SignedCodes extends TopCodes {
  override decode(): ErrorSquares {
    return { outer: this.team.run("decodeSigned"), inner: 0 };
  }

  override count(): number {
    return countRows(this.memory, this.team, "idx", "bounds");
  }

  override decodeAux(): number {
    return this.team.run("decodeSignedAux");
  }

  override countAux(): void {
    countRows(this.memory, this.team, "auxIdx", "auxBounds");
  }

  override place(auxiliary: boolean): void {
    const { at, batch, stride } = this.memory.layout;
    const { kernels } = this.team;
    if (auxiliary) kernels.placeRows(at.auxVals, at.auxIdx, at.auxDz, at.auxBounds, batch, 0, 1, at.g2, 0, at.centered, stride, at.counts, at.entries);
    else placeRows(this.memory, this.team);
  }
}

/** The k·batch largest positive pre-activations of the whole batch, of one reconstruction or of nested ones: batchtopk, matryoshka_batchtopk. */
export class BatchCodes extends TopCodes {
  readonly #dense: DenseEncoder;
  readonly #selector: BatchSelector;

  constructor(memory: TrainerMemory, team: KernelTeam, encoder: TrainerEncoder, dense: DenseEncoder) {
    super(memory, team, encoder);
    this.#dense = dense;
    this.#selector = new BatchSelector(memory, team);
    const { at, widths } = memory.layout;
    new Uint32Array(memory.buffer, at.widths, widths.length).set(widths);
  }

  override async encode(k: number): Promise<void> {
    await this.#dense.encode();
    this.smallest = this.#selector.select(Math.round(k * this.memory.layout.batch));
  }

  override decode(): ErrorSquares {
    const { at, threads, widths } = this.memory.layout;
    const levels = widths.length;
    if (levels === 1) return { outer: this.team.run("decodeRows"), inner: 0 };
    this.team.run("decodeNested");
    const squares = new Float64Array(this.memory.buffer, at.levelSquares, threads * levels);
    const sums = widths.map((_, level) => Array.from({ length: threads }, (_, thread) => squares[thread * levels + level]!).reduce((sum, part) => sum + part, 0));
    return { outer: sums.at(-1)!, inner: sums.slice(0, -1).reduce((sum, part) => sum + part, 0) };
  }

  override count(): number {
    return countRows(this.memory, this.team, "idx", "bounds");
  }

  override place(auxiliary: boolean): void {
    if (auxiliary) super.place(true);
    else placeRows(this.memory, this.team);
  }
}

/** How a configuration chooses its features; `dense` where it needs every pre-activation. */
export function codesOf({ architecture }: ResolvedTrainerConfig, memory: TrainerMemory, team: KernelTeam, encoder: TrainerEncoder, dense: DenseEncoder | undefined): Codes {
  if (architecture === "abstopk") return new SignedCodes(memory, team, encoder);
  return dense === undefined ? new TopCodes(memory, team, encoder) : new BatchCodes(memory, team, encoder, dense);
}

function countRows({ layout: { at, batch } }: TrainerMemory, { kernels }: KernelTeam, idx: "idx" | "auxIdx", bounds: "bounds" | "auxBounds"): number {
  return kernels.countRows(at[idx], at[bounds], batch, at.counts);
}

function placeRows({ layout: { at, batch, stride, widths } }: TrainerMemory, { kernels }: KernelTeam): void {
  kernels.placeRows(at.vals, at.idx, at.dz, at.bounds, batch, at.widths, widths.length, at.g, batch * stride, at.centered, stride, at.counts, at.entries);
}
