import type { ModelSource } from "../graph/model-source.ts";
import { buildSegment, fromTokens } from "../graph/segment.ts";
import { lastPoint } from "../hooks/hook-name.ts";
import { Session, type SessionSettings } from "./session.ts";

/** A stretch of the model with a session of its own. */
export interface Segment {
  readonly from: number;
  readonly to: number;
  readonly session: Session;
}

interface Stretch {
  readonly from: number;
  readonly to: number;
  session?: Session;
  /** Values inside layers that its graph gives. */
  inner: ReadonlySet<string>;
}

/** A value inside a layer that a pass reads. */
export interface InnerTap {
  /** 2L in the attention of layer L, 2L + 1 in its MLP. */
  readonly half: number;
  /** Name of the output. */
  readonly name: string;
}

/** Cuts kept unless one pass needs more: each costs a little at every step, and each session has its own threads. */
const usualCuts = 8;

/**
 * The model, cut at the residual points in use. A stretch is loaded when it is first run, and no layer is loaded twice:
 * cutting a loaded stretch releases it, and its halves load again when they run. The cut unused for longest is closed
 * when there are too many. A stretch of which values inside layers are read for the first time is loaded anew with them
 * and keeps giving them. Residuals do not depend on the cuts, to the last bit. Calls must not overlap.
 */
export class Segments {
  readonly #source: ModelSource;
  readonly #settings: SessionSettings;
  #stretches: Stretch[];
  /** Cuts, the one used last at the end. */
  #cuts: number[] = [];

  constructor(source: ModelSource, settings: SessionSettings) {
    this.#source = source;
    this.#settings = settings;
    this.#stretches = [{ from: fromTokens, to: lastPoint(source.config.nLayers), inner: new Set() }];
  }

  /** The stretches from the tokens to point `to`, cut at `to` and at `points`, whose graphs give what `inner` names. */
  async path(to: number, points: readonly number[], inner: readonly InnerTap[] = []): Promise<Segment[]> {
    const limit = Math.max(usualCuts, points.length + 1);
    for (const point of [...points, to]) await this.#cut(point, limit);
    const path: Segment[] = [];
    for (const stretch of this.#stretches) {
      if (stretch.from >= to) break;
      const wanted = inner.filter(({ half, name }) => half >= stretch.from && half < stretch.to && !stretch.inner.has(name));
      if (wanted.length > 0) {
        await stretch.session?.release();
        delete stretch.session;
        stretch.inner = new Set([...stretch.inner, ...wanted.map(({ name }) => name)]);
      }
      stretch.session ??= await Session.open(buildSegment(this.#source, stretch.from, stretch.to, stretch.inner), this.#settings);
      path.push({ from: stretch.from, to: stretch.to, session: stretch.session });
    }
    return path;
  }

  async close(): Promise<void> {
    for (const stretch of this.#stretches) await stretch.session?.release();
    this.#stretches = [];
  }

  async #cut(point: number, limit: number): Promise<void> {
    if (point === lastPoint(this.#source.config.nLayers)) return;
    const known = this.#cuts.indexOf(point);
    if (known >= 0) {
      this.#cuts.splice(known, 1);
      this.#cuts.push(point);
      return;
    }
    const index = this.#stretches.findIndex((stretch) => stretch.from < point && point < stretch.to);
    const whole = this.#stretches[index];
    if (whole === undefined) throw new RangeError(`residual point ${point} lies outside the model`);
    await whole.session?.release();
    this.#stretches.splice(index, 1, { from: whole.from, to: point, inner: new Set() }, { from: point, to: whole.to, inner: new Set() });
    this.#cuts.push(point);
    if (this.#cuts.length > limit) await this.#close(this.#cuts[0] ?? point);
  }

  async #close(point: number): Promise<void> {
    const index = this.#stretches.findIndex((stretch) => stretch.to === point);
    const [left, right] = this.#stretches.slice(index, index + 2);
    if (left === undefined || right === undefined) return;
    await left.session?.release();
    await right.session?.release();
    this.#stretches.splice(index, 2, { from: left.from, to: right.to, inner: new Set() });
    this.#cuts.splice(this.#cuts.indexOf(point), 1);
  }
}
