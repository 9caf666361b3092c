import type { MessageInitShape } from "@bufbuild/protobuf";
import { FeatureIndexSchema, type IngestActivationsRequestSchema } from "@mistral-sae/contracts/mistral_sae/feature_index/v1/feature_index";
import { DataType } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import { InputError, openSafetensors, type SafetensorsFile, u32View } from "@mistral-sae/tensor";
import type { Command } from "commander";
import { type Clients, connect } from "../clients.ts";
import { integer, run } from "../command.ts";
import { responseOf, waitFor } from "../operations.ts";
import { formatFields } from "../output.ts";
import { resolveSae, resourceName } from "../resources.ts";
import { describeIndex } from "./index-build.ts";

type Chunk = MessageInitShape<typeof IngestActivationsRequestSchema>;

interface CreateOptions {
  readonly corpus: string;
  readonly sae?: string;
  readonly contextSize?: number;
  readonly includeSpecialTokens?: boolean;
}

/** Sequences of a chunk: the same in every run, because a chunk is known by its number. */
const CHUNK_SEQUENCES = 64;

const layout = `Each file is one shard, numbered in the order given, with these tensors (safetensors):
  token_ids       U32 [tokens]         ids of all sequences, one after another
  sequence_starts U32 [sequences + 1]  where each sequence begins, and the end
  doc_ids         U32 [sequences]      document of each sequence
  row_offsets     U32 [tokens + 1]     where each token's pairs begin, and the end
  feature_indices U32 [pairs]
  activations     F32, F16 or BF16 [pairs]
and d_sae, the SAE's width, in the metadata. Special tokens are those of the model's vocabulary.
A run that was cut off is repeated as it was: it goes on where the service stopped.`;

/** `index create | ingest | finish`. */
export function registerIngestVerbs(index: Command): void {
  index
    .command("create")
    .description("Make an empty index that takes codes made elsewhere.")
    .argument("<id>", "id to give it: a-z, 0-9 and -")
    .requiredOption("--corpus <id>", "id of the corpus that the sequences will make")
    .option("--sae <sae>", "the SAE; the only one loaded otherwise")
    .option("--context-size <n>", "tokens of the longest sequence", integer({ min: 2 }))
    .option("--include-special-tokens", "count special tokens in statistics and examples too")
    .action(
      run(async ({ output, signal, address }, indexId: string, options: CreateOptions) => {
        const clients = connect(address);
        const { index: made } = await clients.featureIndex.createIndex(
          { indexId, sae: await resolveSae(clients, options.sae, signal), corpusId: options.corpus, contextSize: options.contextSize ?? 0, includeSpecialTokens: options.includeSpecialTokens ?? false },
          { signal },
        );
        if (made !== undefined) output.message(FeatureIndexSchema, made, () => describeIndex(made));
      }),
    );
  index
    .command("ingest")
    .description("Send codes made elsewhere to an index that `index create` made.")
    .argument("<index>", "indexes/{index} or its id")
    .argument("<files...>", "safetensors files, one a shard")
    .addHelpText("after", `\n${layout}`)
    .action(
      run(async ({ output, signal, address }, given: string, files: readonly string[]) => {
        const clients = connect(address);
        const name = resourceName("indexes", given);
        for (const [shard, path] of files.entries()) await sendFile(clients, name, shard, path, signal);
        const committed = await committedSeq(clients, name, signal);
        output.result({ index: name, committedSeq: committed }, () => formatFields([["index", name], ...Object.entries(committed).map(([shard, seq]) => [`chunks of shard ${shard}`, seq + 1] as const)]));
      }),
    );
  index
    .command("finish")
    .description("Build the index of the codes that were sent.")
    .argument("<index>", "indexes/{index} or its id")
    .action(
      run(async (context, given: string) => {
        const clients = connect(context.address);
        const { operation } = await clients.featureIndex.finishIndex({ name: resourceName("indexes", given) }, { signal: context.signal });
        const built = responseOf(await waitFor(clients, operation, "index", context), FeatureIndexSchema);
        context.output.message(FeatureIndexSchema, built, () => describeIndex(built));
      }),
    );
}

async function committedSeq({ featureIndex }: Clients, index: string, signal: AbortSignal): Promise<Record<string, number>> {
  const { committedSeq } = await featureIndex.ingestActivations(oneMessage({ index }), { signal });
  return Object.fromEntries(Object.entries(committedSeq).map(([shard, seq]) => [shard, Number(seq)]));
}

async function* oneMessage(message: Chunk): AsyncIterable<Chunk> {
  yield await Promise.resolve(message);
}

async function sendFile(clients: Clients, index: string, shard: number, path: string, signal: AbortSignal): Promise<void> {
  await using file = await openSafetensors(path);
  const next = ((await committedSeq(clients, index, signal))[shard] ?? -1) + 1;
  await clients.featureIndex.ingestActivations(chunksOf(file, index, shard, next), { signal });
}

/** The chunks of a file from the given one on. */
async function* chunksOf(file: SafetensorsFile, index: string, shard: number, from: number): AsyncIterable<Chunk> {
  const numbers = async (name: string, start: number, end: number) => u32View((await file.read(name, { rows: { start, end } })).data);
  const types = { F32: DataType.F32, F16: DataType.F16, BF16: DataType.BF16 } as const;
  for (const name of ["token_ids", "sequence_starts", "doc_ids", "row_offsets", "feature_indices"]) requireType(file, name, ["U32"]);
  const dtype = requireType(file, "activations", Object.keys(types)) as keyof typeof types;
  const nSequences = file.tensors.get("doc_ids")?.shape[0] ?? 0;
  const dSae = Number(file.metadata["d_sae"]);
  if (!Number.isSafeInteger(dSae) || dSae < 1) throw new InputError("the file does not say how wide the SAE is", { file: file.path, field: "__metadata__.d_sae", got: file.metadata["d_sae"], wanted: "the number of the SAE's features" });
  // Also when nothing is left to send.
  yield { index };
  for (let seq = from; seq * CHUNK_SEQUENCES < nSequences; seq++) {
    const start = seq * CHUNK_SEQUENCES;
    const end = Math.min(nSequences, start + CHUNK_SEQUENCES);
    const bounds = await numbers("sequence_starts", start, end + 1);
    const [firstToken = 0, lastToken = 0] = [bounds[0], bounds.at(-1)];
    const tokens = await numbers("token_ids", firstToken, lastToken);
    const offsets = await numbers("row_offsets", firstToken, lastToken + 1);
    const [firstPair = 0, lastPair = 0] = [offsets[0], offsets.at(-1)];
    const bytes = async (name: string) => (await file.read(name, { rows: { start: firstPair, end: lastPair } })).data as Uint8Array<ArrayBuffer>;
    const rowOffsets = new Uint8Array(offsets.map((offset) => offset - firstPair).buffer);
    yield {
      index,
      shard,
      seq: BigInt(seq),
      sequences: Array.from({ length: end - start }, (_, i) => ({ tokenIds: Array.from(tokens.subarray((bounds[i] ?? 0) - firstToken, (bounds[i + 1] ?? 0) - firstToken)) })),
      docIds: Array.from(await numbers("doc_ids", start, end), BigInt),
      code: { nTokens: lastToken - firstToken, dSae, featureIndices: await bytes("feature_indices"), activations: await bytes("activations"), activationDtype: types[dtype], rowOffsets },
    };
  }
}

/** @throws InputError when a tensor is missing or of another type. */
function requireType(file: SafetensorsFile, name: string, wanted: readonly string[]): string {
  const tensor = file.tensors.get(name);
  if (tensor === undefined || !wanted.includes(tensor.dtype)) {
    throw new InputError(`tensor "${name}" cannot be sent`, { file: file.path, field: name, got: tensor?.dtype ?? "no such tensor", wanted: wanted.join(" or ") });
  }
  return tensor.dtype;
}
