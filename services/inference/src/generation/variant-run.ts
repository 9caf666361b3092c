import type { MessageInitShape } from "@bufbuild/protobuf";
import { FinishReason, type GenerateStep, type GenerateStepSchema } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import type { SlotId } from "@mistral-sae/model";
import type { Detokenizer, Tokenizer } from "@mistral-sae/tokenizer";
import type { PlacedIntervention } from "../interventions/placed.ts";
import { selects } from "../interventions/positions.ts";
import type { GenerationParams } from "./sampling.ts";
import { StopText } from "./stop-text.ts";

/** A GenerateStep message before it is one. */
export type StepFields = Exclude<MessageInitShape<typeof GenerateStepSchema>, GenerateStep>;

/** A token chosen for a variant, and whether it is the last. */
export interface ChosenToken {
  readonly step: number;
  readonly token: number;
  readonly textDelta: string;
  readonly finish: FinishReason | undefined;
}

/** One variant of a generation while it runs: its text, its end, and what its edits had to do. */
export class VariantRun {
  readonly id: string;
  readonly placed: readonly PlacedIntervention[];
  slot: SlotId | undefined;
  /** Set when the last token has been chosen. */
  finish: FinishReason | undefined;
  /** Whether its last token is out. */
  done = false;
  /** Whether its end is out or being made ready. */
  reported = false;
  cachedTokens = 0;
  traced = 0;
  /** Steps at which the engine says an edit selected the row. */
  appliedSteps = 0;
  /** Steps at which one had to. */
  expectedSteps = 0;
  /** Steps that each intervention selects. */
  readonly selected: number[];
  /** Whether a condition may end it, so that each token is read before it is told. */
  readonly mayEnd: boolean;
  /** The intervention whose conditions ended it. */
  endedBy: string | undefined;
  largestKl = 0;
  /** A chosen token that waits for its own row. */
  held: { readonly step: StepFields; readonly token: number; readonly finish: FinishReason | undefined } | undefined;
  readonly #params: GenerationParams;
  readonly #endIds: ReadonlySet<number>;
  readonly #detokenizer: Detokenizer;
  readonly #stop: StopText;
  /** Every token chosen, those after the end included that serve a comparison only. */
  readonly #ids: number[] = [];
  #chosen = 0;
  #fed = 0;

  constructor(id: string, placed: readonly PlacedIntervention[], params: GenerationParams, eosTokenIds: readonly number[], tokenizer: Tokenizer) {
    this.id = id;
    this.placed = placed;
    this.selected = placed.map(() => 0);
    this.mayEnd = placed.some(({ source }) => source.conditions.some(({ action }) => action === "abort"));
    this.#params = params;
    this.#endIds = new Set(params.ignoreEos ? [] : eosTokenIds);
    this.#detokenizer = tokenizer.detokenizer({ continuation: true, skipSpecial: true });
    this.#stop = new StopText(params.stop);
  }

  /** Tokens generated so far. */
  get completionTokens(): number {
    return this.#chosen;
  }

  /** Tokens after which it is over. */
  get endIds(): readonly number[] {
    return [...this.#endIds];
  }

  /**
   * Whether a step may be asked for before it is known that the one before it was not the last. A token too many is left
   * out by the engine when it is known by its id; otherwise it does no harm unless edits are counted.
   */
  get bearsAhead(): boolean {
    return this.placed.length === 0 || (this.#params.stop.length === 0 && !this.mayEnd);
  }

  /** Tokens that it may still generate. */
  get remaining(): number {
    return this.#params.maxTokens - this.#chosen;
  }

  /** The token chosen last, which the model reads next. */
  get pending(): number {
    return this.#ids.at(-1) ?? 0;
  }

  /** All tokens that the model has read after a prompt, that included. */
  read(prompt: Uint32Array): Uint32Array {
    const tokens = new Uint32Array(prompt.length + this.#fed);
    tokens.set(prompt);
    for (let i = 0; i < this.#fed; i++) tokens[prompt.length + i] = this.#ids[i] ?? 0;
    return tokens;
  }

  /** A token chosen after the end, for a comparison that goes on; `fed` says that the one before has been read for it. */
  goOn(token: number, fed: boolean): void {
    if (fed) this.#fed++;
    this.#ids.push(token);
  }

  /** Takes the token chosen next. The last one brings all text that was held back. */
  choose(token: number): ChosenToken {
    const step = this.#chosen++;
    this.#ids.push(token);
    const { text, stopped } = this.#stop.push(this.#detokenizer.push(token));
    let textDelta = text;
    let finish: FinishReason | undefined;
    if (stopped) finish = FinishReason.STOP;
    else if (this.#endIds.has(token)) finish = FinishReason.EOS;
    else if (this.#chosen >= this.#params.maxTokens) finish = FinishReason.LENGTH;
    if (finish !== undefined && !stopped) {
      const rest = this.#stop.push(this.#detokenizer.end());
      textDelta += rest.text;
      if (rest.stopped) finish = FinishReason.STOP;
      else textDelta += this.#stop.flush();
    }
    this.finish = finish;
    return { step, token, textDelta, finish };
  }

  /** The token chosen last has been read by the model, `edited` as StepResult has it. Returns its index and id. */
  feed(edited: number): { readonly t: number; readonly token: number } {
    const t = this.#fed++;
    const token = this.pending;
    let due = false;
    for (const [i, { rule, source }] of this.placed.entries()) {
      if (!selects(rule, t, token)) continue;
      due ||= source.conditions.length === 0 || edited !== 2;
      this.selected[i] = (this.selected[i] ?? 0) + 1;
    }
    if (due) this.expectedSteps++;
    if (edited === 1) this.appliedSteps++;
    return { t, token };
  }

  /** The conditions of edit `index` end it. Returns the text that was held back. */
  end(index: number): string {
    this.finish ??= FinishReason.CONDITION;
    this.endedBy = this.placed[index]?.source.id ?? "";
    const { text, stopped } = this.#stop.push(this.#detokenizer.end());
    return stopped ? text : text + this.#stop.flush();
  }
}
