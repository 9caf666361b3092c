import type { NormalizerStep, SplitBehavior, SplitStep } from "../bpe/model.ts";
import { literalPattern, translatePattern } from "../bpe/pattern.ts";
import type { Fields } from "../fields.ts";

/** The words of GPT-2, which ByteLevel cuts with use_regex. */
const GPT2_WORDS = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const BEHAVIORS: readonly SplitBehavior[] = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext"];
const UNICODE_FORMS = ["NFC", "NFD", "NFKC", "NFKD"] as const;

/** How deep Sequences may lie in one another. */
const DEEPEST = 8;

/** The steps of a part of tokenizer.json, Sequences taken apart. @throws InputError. */
export function stepsOf(root: Fields, part: string, list: string, depth = 0): Fields[] {
  if (!root.has(part)) return [];
  const step = root.object(part);
  return flatten(step, list, depth);
}

function flatten(step: Fields, list: string, depth: number): Fields[] {
  if (step.text("type") !== "Sequence") return [step];
  if (depth === DEEPEST) throw step.error("type", "Sequence", `Sequences at most ${DEEPEST} deep`);
  return step.objects(list).flatMap((inner) => flatten(inner, list, depth + 1));
}

/** @throws InputError for a normalizer this program does not follow. */
export function readNormalizer(root: Fields): NormalizerStep[] {
  return stepsOf(root, "normalizer", "normalizers").map((step) => {
    const type = step.text("type");
    const form = UNICODE_FORMS.find((known) => known === type);
    if (form !== undefined) return { kind: "unicode", form };
    if (type === "Prepend") return { kind: "prepend", text: step.someText("prepend") };
    if (type === "Replace") return { kind: "replace", from: step.object("pattern").someText("String"), to: step.text("content") };
    throw step.error("type", type, `Prepend, Replace of a String, ${UNICODE_FORMS.join(", ")}, or a Sequence of them`);
  });
}

/** How a tokenizer.json cuts words, and whether its symbols are bytes. @throws InputError. */
export function readPreTokenizer(root: Fields): { readonly splits: SplitStep[]; readonly byteLevel: boolean } {
  const splits: SplitStep[] = [];
  let byteLevel = false;
  for (const step of stepsOf(root, "pre_tokenizer", "pretokenizers")) {
    const type = step.text("type");
    if (byteLevel) throw step.error("type", type, "nothing after ByteLevel");
    switch (type) {
      case "ByteLevel":
        byteLevel = true;
        if (step.flag("add_prefix_space", true)) splits.push({ kind: "prefix", text: " ", onlyFirst: false });
        if (step.flag("use_regex", true)) splits.push(isolated(translatePattern(GPT2_WORDS, { file: step.file, field: step.path("use_regex") })));
        break;
      case "Split":
        splits.push(readSplit(step));
        break;
      case "Digits":
        splits.push(isolated(step.flag("individual_digits", false) ? "\\p{N}" : "\\p{N}+"));
        break;
      case "Metaspace":
        splits.push(...readMetaspace(step));
        break;
      default:
        throw step.error("type", type, "ByteLevel, Split, Digits, Metaspace, or a Sequence of them");
    }
  }
  return { splits, byteLevel };
}

function isolated(source: string): SplitStep {
  return { kind: "pattern", source, behavior: "Isolated", invert: false };
}

function readSplit(step: Fields): SplitStep {
  const pattern = step.object("pattern");
  const name = step.text("behavior");
  const behavior = BEHAVIORS.find((known) => known === name);
  if (behavior === undefined) throw step.error("behavior", name, BEHAVIORS.join(", "));
  const source = pattern.has("Regex")
    ? translatePattern(pattern.text("Regex"), { file: pattern.file, field: pattern.path("Regex") })
    : literalPattern(pattern.someText("String"));
  return { kind: "pattern", source, behavior, invert: step.flag("invert", false) };
}

function readMetaspace(step: Fields): SplitStep[] {
  const replacement = step.someText("replacement");
  // Files older than prepend_scheme say add_prefix_space.
  const scheme = step.text("prepend_scheme", step.flag("add_prefix_space", true) ? "always" : "never");
  if (!["always", "first", "never"].includes(scheme)) throw step.error("prepend_scheme", scheme, "always, first or never");
  return [
    { kind: "replace", from: " ", to: replacement },
    ...(scheme === "never" ? [] : [{ kind: "prefix", text: replacement, onlyFirst: scheme === "first" } as const]),
    ...(step.flag("split", true) ? [{ kind: "pattern", source: literalPattern(replacement), behavior: "MergedWithNext", invert: false } as const] : []),
  ];
}

/**
 * Cuts words where U+2581 follows another character. Only for vocabularies in which no piece spans such a place: there
 * nothing merges across it, and words that repeat need not be merged again.
 */
export function metaspaceWords(pieces: Iterable<string>): SplitStep[] {
  let used = false;
  for (const piece of pieces) {
    const at = piece.lastIndexOf("\u2581");
    if (at < 0) continue;
    used = true;
    for (let i = 0; i < at; i++) if (piece[i] !== "\u2581") return [];
  }
  return used ? [{ kind: "marked", mark: "\u2581" }] : [];
}
