import { InputError } from "@mistral-sae/tensor";
import type { PlacedRow } from "./given-rows.ts";
import { type PeerFile, peerRows, type ReadMeter } from "./peer-file.ts";

/** What a file holds. */
export interface FileScan {
  readonly nFeatures: number;
  readonly nExamples: number;
  readonly nExplanations: number;
  /** Tokens of the longest example. */
  readonly longest: number;
  /** Features that it describes, in its order, and where. */
  readonly features: Uint32Array;
  readonly lines: Uint32Array;
  /** A bit a feature: those that examples or explanations are of. */
  readonly mentioned: Uint8Array;
  /** Texts of tokens, each once. */
  readonly strings: readonly string[];
  /** The names of model and source in its rows, or what a batch says of itself; undefined for a file without rows. */
  readonly owner: string | undefined;
}

/** More different texts than any tokenizer has tokens. */
const MOST_STRINGS = 1 << 21;

/** Reads a file to its end and checks every row of it. @throws InputError. */
export async function scanFile(file: PeerFile, dSae: number, meter: ReadMeter): Promise<FileScan> {
  const features: number[] = [];
  const lines: number[] = [];
  const seen = new Uint8Array(dSae);
  const mentioned = new Uint8Array(Math.ceil(dSae / 8));
  const strings = new Set<string>();
  const count = { nFeatures: 0, nExamples: 0, nExplanations: 0 };
  let longest = 0;
  let owner: string | undefined;
  let header: string | undefined;
  for await (const row of peerRows(file, dSae, meter, (json) => (header = json))) {
    owner ??= row.owner;
    if (row.owner !== owner) throw new InputError(`${file.path}: ${place(row, file)} is of ${row.owner}, and rows before it of ${owner}`, { file: file.path, field: `${place(row, file)}, layer`, got: row.owner, wanted: owner });
    const { feature } = row.given;
    if (row.kind === "feature") {
      if (seen[feature] === 1) throw new InputError(`${file.path}: ${place(row, file)} describes feature ${feature} a second time`, { file: file.path, field: `${place(row, file)}, index`, got: feature, wanted: "one row a feature" });
      seen[feature] = 1;
      count.nFeatures += 1;
      features.push(feature);
      lines.push(row.line);
      for (const text of row.given.posStr) strings.add(text);
      for (const text of row.given.negStr) strings.add(text);
    } else {
      mentioned[feature >> 3]! |= 1 << (feature & 7);
      if (row.kind === "explanation") count.nExplanations += 1;
      else {
        count.nExamples += 1;
        longest = Math.max(longest, row.given.tokens.length);
        for (const text of row.given.tokens) strings.add(text);
      }
    }
    if (strings.size > MOST_STRINGS) throw new InputError(`${file.path} has more than ${MOST_STRINGS} different tokens: its tokens are no tokenizer's`, { file: file.path, field: "tokens", got: strings.size, wanted: `at most ${MOST_STRINGS}` });
  }
  return { ...count, longest, features: Uint32Array.from(features), lines: Uint32Array.from(lines), mentioned, strings: [...strings], owner: header ?? owner };
}

function place({ line }: PlacedRow, { kind }: PeerFile): string {
  return kind === "batch" ? `features[${line}]` : `line ${line}`;
}
