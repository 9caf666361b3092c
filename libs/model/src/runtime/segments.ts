import type { AdditionKind } from "../edits/additions.ts";
import type { ModelSource } from "../graph/model-source.ts";
import { buildSegment, fromTokens, type SegmentExtras } from "../graph/segment.ts";
import { lastPoint } from "../hooks/hook-name.ts";
import { Session, type SessionSettings } from "./session.ts";

/** A stretch of the model with a session of its own. */
export interface Segment {
  readonly from: number;
  readonly to: number;
  readonly session: Session;
  /** Points at which it adds what it is fed. */
  readonly additions: ReadonlyMap<number, AdditionKind>;
}

interface Stretch {
  readonly from: number;
  readonly to: number;
  session?: Session;
  /** What its graph can do beside running its layers. */
  extras: SegmentExtras;
}

const plain: SegmentExtras = { inner: new Set(), additions: new Map() };

/** A value inside a layer that a pass reads. */
export interface InnerTap {
  /** 2L in the attention of layer L, 2L + 1 in its MLP. */
  readonly half: number;
  /** Name of the output. */
  readonly name: string;
}

/** Points with additions that one stretch keeps unless a pass needs more. */
const usualAdditions = 8;

/** Cuts kept unless one pass needs more: each costs a little at every step, and each session has its own threads. */
const usualCuts = 8;

/**
 * The model, cut at the residual points in use. A stretch is loaded when it is first run, and no layer is loaded twice:
 * cutting a loaded stretch releases it, and its halves load again when they run. The cut unused for longest is closed
 * when there are too many. A stretch of which values inside layers are read, or to which rows are added, for the first time
 * is loaded anew with that and keeps it. Residuals do not depend on the cuts, to the last bit. Calls must not overlap.
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
    this.#stretches = [{ from: fromTokens, to: lastPoint(source.config.nLayers), extras: plain }];
  }

  /**
   * The stretches from the tokens to point `to`, cut at `to` and at `points`, whose graphs give what `inner` names and add at
   * the points of `additions`, as far as the model is not cut there already.
   */
  async path(to: number, points: readonly number[], inner: readonly InnerTap[] = [], additions: ReadonlyMap<number, AdditionKind> = new Map()): Promise<Segment[]> {
    const limit = Math.max(usualCuts, points.length + 1);
    for (const point of [...points, to]) await this.#cut(point, limit);
    const path: Segment[] = [];
    for (const stretch of this.#stretches) {
      if (stretch.from >= to) break;
      const extras = extended(stretch, inner, additions);
      if (extras !== stretch.extras) {
        await stretch.session?.release();
        delete stretch.session;
        stretch.extras = extras;
      }
      stretch.session ??= await Session.open(buildSegment(this.#source, stretch.from, stretch.to, stretch.extras), this.#settings);
      path.push({ from: stretch.from, to: stretch.to, session: stretch.session, additions: stretch.extras.additions });
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
    this.#stretches.splice(index, 1, { from: whole.from, to: point, extras: plain }, { from: point, to: whole.to, extras: plain });
    this.#cuts.push(point);
    if (this.#cuts.length > limit) await this.#close(this.#cuts[0] ?? point);
  }

  async #close(point: number): Promise<void> {
    const index = this.#stretches.findIndex((stretch) => stretch.to === point);
    const [left, right] = this.#stretches.slice(index, index + 2);
    if (left === undefined || right === undefined) return;
    await left.session?.release();
    await right.session?.release();
    this.#stretches.splice(index, 2, { from: left.from, to: right.to, extras: plain });
    this.#cuts.splice(this.#cuts.indexOf(point), 1);
  }
}

/** A stretch's extras with what is wanted of it; the same object when it has all of that. */
function extended({ from, to, extras }: Stretch, inner: readonly InnerTap[], additions: ReadonlyMap<number, AdditionKind>): SegmentExtras {
  const names = inner.filter(({ half }) => half >= from && half < to).map(({ name }) => name);
  const points = [...additions].filter(([point, kind]) => point > from && point < to && extras.additions.get(point) !== kind && extras.additions.get(point) !== "by norm");
  if (points.length === 0 && names.every((name) => extras.inner.has(name))) return extras;
  const kept = extras.additions.size + points.length > usualAdditions ? [...extras.additions].filter(([point]) => additions.has(point)) : [...extras.additions];
  return { inner: new Set([...extras.inner, ...names]), additions: new Map([...kept, ...points]) };
}
