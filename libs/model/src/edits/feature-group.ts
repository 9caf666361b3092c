import { rowBounds, type SparseRows } from "@mistral-sae/tensor";
import { activationIn, addScaled, type Encoded, type SaeRuntime } from "../sae/sae-runtime.ts";
import type { Asked } from "../sae/membership.ts";
import type { SequenceEdits } from "./compiled.ts";
import type { FeatureEdit } from "./edit.ts";
import { type ActivationFormula, readsActivation } from "./feature-formulas.ts";
import { factorAt } from "./rules.ts";

/** One edit of a feature group. */
export interface FeatureStep {
  readonly index: number;
  readonly edit: FeatureEdit;
  readonly feature: number;
  readonly formula: ActivationFormula;
  readonly keepErrorTerm: boolean;
}

/** Consecutive feature edits of one SAE at one hook: one reading of the row, one change of it. */
export class FeatureGroup {
  readonly kind = "features";
  readonly sae: SaeRuntime;
  readonly #steps: FeatureStep[] = [];
  /** [step] Place of its feature among the distinct ones. */
  readonly #columns: number[] = [];
  /** Distinct features. */
  readonly #features: number[] = [];
  /** Indices of the reconstruct edits in the group. */
  readonly #reconstruct: number[] = [];
  /** [feature] Activations of the row at hand, as found and as edited; NaN where no edit applies. */
  #from = new Float64Array();
  #to = new Float64Array();

  constructor(sae: SaeRuntime) {
    this.sae = sae;
  }

  add(step: FeatureStep): void {
    let column = this.#features.indexOf(step.feature);
    if (column < 0) column = this.#features.push(step.feature) - 1;
    this.#steps.push(step);
    this.#columns.push(column);
    this.#from = new Float64Array(this.#features.length);
    this.#to = new Float64Array(this.#features.length);
  }

  addReconstruct(index: number): void {
    this.#reconstruct.push(index);
  }

  /**
   * Edits the row x[at, at + d) by the edited features' own columns of the encoder. Where they do not tell enough, says
   * what does, having done nothing: the row's whole code where an edit drops the error term, or which of the features
   * a topk SAE keeps.
   */
  editByColumns(edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): "done" | "code" | "kept" {
    if (!this.#applies(edits, position, token)) {
      this.#recordOff(edits, position, token);
      return "done";
    }
    if (!this.#read(edits, position, token, x, at)) return "code";
    if (this.sae.sae.kind === "topk") for (const activation of this.#from) if (activation > 0) return "kept";
    this.#change(edits, position, token, this.sae.reader.scale, undefined);
    this.#addChanges(x, at, this.sae.reader.scale);
    return "done";
  }

  /** Adds the features of the row x[at, at + d) of which it must be known whether TopK keeps them; `row` names it there. */
  ask(row: number, asked: Asked[], edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): void {
    this.#read(edits, position, token, x, at);
    for (const [column, activation] of this.#from.entries()) if (activation > 0) asked.push({ row, feature: this.#features[column]!, activation });
  }

  /** Edits the row x[at, at + d); the answers to {@link ask} begin at `kept[first]`. Returns where the next row's do. */
  editByKept(kept: Uint8Array, first: number, edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): number {
    this.#read(edits, position, token, x, at);
    let answer = first;
    for (const [column, activation] of this.#from.entries()) if (activation > 0 && kept[answer++] === 0) this.#from[column] = 0;
    this.#change(edits, position, token, this.sae.reader.scale, undefined);
    this.#addChanges(x, at, this.sae.reader.scale);
    return answer;
  }

  /** Reads the features that edits apply to, as if TopK kept them; false where an edit drops the error term. */
  #read(edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): boolean {
    const { reader } = this.sae;
    for (const index of this.#reconstruct) if (edits.verdict(index, position, token) === "apply") return false;
    this.#from.fill(Number.NaN);
    reader.take(x, at);
    for (let i = 0; i < this.#steps.length; i++) {
      const { index, edit, feature, keepErrorTerm } = this.#steps[i]!;
      const column = this.#columns[i]!;
      if (edits.verdict(index, position, token) !== "apply") continue;
      if (!keepErrorTerm) return false;
      if (!Number.isNaN(this.#from[column]!)) continue;
      // A change that is the same from any activation is reckoned from 0.
      const alone = this.#columns.indexOf(column) === this.#columns.lastIndexOf(column);
      const reads = !alone || readsActivation(edit, factorAt(edit, position, edits.promptLength));
      this.#from[column] = reads ? reader.activation(feature) : 0;
    }
    return true;
  }

  /** Edits the row x[at, at + d), whose code is row `r` of `encoded`. */
  editByCode({ code, input }: Encoded, r: number, edits: SequenceEdits, position: number, token: number, x: Float32Array, at: number): void {
    const scale = input.scale?.[r] ?? 1;
    for (const [column, feature] of this.#features.entries()) this.#from[column] = activationIn(code, r, feature);
    const dropping: number[] = [];
    this.#change(edits, position, token, scale, dropping);
    for (const index of this.#reconstruct) if (edits.verdict(index, position, token) === "apply") dropping.push(index);
    if (dropping.length === 0) {
      this.#addChanges(x, at, scale);
      return;
    }
    const moved = this.#splice(code, r, scale, input.shift?.[r] ?? 0, x.subarray(at, at + this.sae.sae.dIn));
    for (const index of dropping) edits.record(index, position, moved);
  }

  #applies(edits: SequenceEdits, position: number, token: number): boolean {
    for (const { index } of this.#steps) if (edits.verdict(index, position, token) === "apply") return true;
    for (const index of this.#reconstruct) if (edits.verdict(index, position, token) === "apply") return true;
    return false;
  }

  #recordOff(edits: SequenceEdits, position: number, token: number): void {
    for (const { index } of this.#steps) if (edits.verdict(index, position, token) === "off") edits.recordOff(index, position);
    for (const index of this.#reconstruct) if (edits.verdict(index, position, token) === "off") edits.recordOff(index, position);
  }

  /** a' from a by the edits that apply, recording those that keep the error and adding the others to `dropping`. */
  #change(edits: SequenceEdits, position: number, token: number, scale: number, dropping: number[] | undefined): void {
    const { decoderNorms } = this.sae.sae;
    this.#to.set(this.#from);
    for (let i = 0; i < this.#steps.length; i++) {
      const { index, edit, feature, formula, keepErrorTerm } = this.#steps[i]!;
      const column = this.#columns[i]!;
      if (edits.verdict(index, position, token) !== "apply") continue;
      const before = this.#to[column]!;
      const after = formula(before, factorAt(edit, position, edits.promptLength));
      this.#to[column] = after;
      if (keepErrorTerm) edits.record(index, position, Math.abs(scale * (after - before)) * decoderNorms[feature]!);
      else dropping?.push(index);
    }
    this.#recordOff(edits, position, token);
  }

  /** h + sd Σ (a' − a) D_f */
  #addChanges(x: Float32Array, at: number, scale: number): void {
    const { wDec, dIn } = this.sae.sae;
    for (let column = 0; column < this.#features.length; column++) {
      const change = scale * (this.#to[column]! - this.#from[column]!);
      if (Number.isNaN(change) || change === 0) continue;
      for (let i = 0, row = this.#features[column]! * dIn; i < dIn; i++, row++) x[at + i] = x[at + i]! + change * wDec[row]!;
    }
  }

  /** sd (D a' + b_dec) + mean in place of h; returns how far that is. */
  #splice(code: SparseRows, r: number, scale: number, shift: number, h: Float32Array): number {
    const { wDec, bDec } = this.sae.sae;
    const decoded = Float32Array.from(bDec);
    const [start, end] = rowBounds(code, r);
    for (let pair = start; pair < end; pair++) addScaled(decoded, wDec, code.indices[pair]! * h.length, code.values[pair]!);
    for (const [column, feature] of this.#features.entries()) {
      const change = this.#to[column]! - this.#from[column]!;
      if (change !== 0) addScaled(decoded, wDec, feature * h.length, change);
    }
    let squares = 0;
    for (let i = 0; i < h.length; i++) {
      const value = Math.fround(scale * decoded[i]! + shift);
      squares += (value - h[i]!) ** 2;
      h[i] = value;
    }
    return Math.sqrt(squares);
  }
}
