import { InputError } from "@mistral-sae/tensor";
import type { PeerFile } from "./peer-file.ts";
import type { FileScan } from "./scan-file.ts";
import type { ImportShard } from "./write-shard.ts";

/** What a folder holds, all its files checked and held against each other. */
export interface FolderScan {
  readonly shards: readonly ImportShard[];
  readonly nFeatures: number;
  readonly nExamples: number;
  readonly nExplanations: number;
  readonly contextSize: number;
  readonly strings: ReadonlySet<string>;
  readonly owner: string;
}

/** A thread is started for each shard: one is worth some seconds of reading. */
const SHARD_BYTES = 64 << 20;

/** Puts the scans of a folder's files together. @throws InputError for a feature that comes twice or is nowhere described. */
export function readScans(uri: string, dSae: number, files: readonly (PeerFile & { readonly bytes: number })[], scans: readonly FileScan[]): FolderScan {
  const describedBy = new Int32Array(dSae).fill(-1);
  const strings = new Set<string>();
  let owner: string | undefined;
  for (const [at, scan] of scans.entries()) {
    const { path } = files[at] as PeerFile;
    owner ??= scan.owner;
    if (scan.owner !== undefined && scan.owner !== owner) throw new InputError(`${path} is of another source than the files before it`, { file: path, field: "layer", got: scan.owner, wanted: owner });
    for (const [i, feature] of scan.features.entries()) {
      const before = describedBy[feature] as number;
      if (before >= 0) throw new InputError(`${path}: row ${scan.lines[i]} describes feature ${feature}, and so does ${files[before]?.path}`, { file: path, field: "index", got: feature, wanted: "one row a feature" });
      describedBy[feature] = at;
    }
    for (const text of scan.strings) strings.add(text);
  }
  for (const [at, { mentioned }] of scans.entries()) {
    for (let feature = 0; feature < dSae; feature++) {
      if (((mentioned[feature >> 3] as number) >> (feature & 7) & 1) === 1 && describedBy[feature] === -1) {
        const { path, kind } = files[at] as PeerFile;
        throw new InputError(`${path} holds ${kind}s of feature ${feature}, which no file describes`, { file: path, field: "index", got: feature, wanted: "a feature of the batches of features" });
      }
    }
  }
  const sum = (pick: (scan: FileScan) => number) => scans.reduce((total, scan) => total + pick(scan), 0);
  const nFeatures = sum((scan) => scan.nFeatures);
  if (nFeatures === 0) throw new InputError(`${uri} describes no feature`, { file: uri, field: "features", got: "0 features", wanted: "at least 1" });
  const contextSize = Math.max(2, ...scans.map(({ longest }) => longest));
  return { shards: shardsOf(files, scans), nFeatures, nExamples: sum((scan) => scan.nExamples), nExplanations: sum((scan) => scan.nExplanations), contextSize, strings, owner: owner ?? "" };
}

function shardsOf(files: readonly (PeerFile & { readonly bytes: number })[], scans: readonly FileScan[]): ImportShard[] {
  const shards: (ImportShard & { files: PeerFile[] })[] = [];
  const next = { firstExample: 0, firstFeature: 0, firstExplanation: 0 };
  let bytes = Infinity;
  for (const [at, { path, kind, bytes: size }] of files.entries()) {
    if (bytes + size > SHARD_BYTES) {
      shards.push({ files: [], ...next });
      bytes = 0;
    }
    shards.at(-1)?.files.push({ path, kind });
    bytes += size;
    next.firstExample += scans[at]?.nExamples ?? 0;
    next.firstFeature += scans[at]?.nFeatures ?? 0;
    next.firstExplanation += scans[at]?.nExplanations ?? 0;
  }
  return shards;
}
