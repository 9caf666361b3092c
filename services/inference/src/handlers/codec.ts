import type { MessageInitShape } from "@bufbuild/protobuf";
import { DataType, type SparseCodeSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { EncodeRequest, SaeService, TokenSequences } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { EncodedBatch, EncodedRows as EngineRows, EncodeOptions } from "@mistral-sae/model";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { unpackSparse, type WireSparseCode } from "@mistral-sae/tensor";
import type { SaeTarget } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { inOrder } from "../wire/ahead.ts";
import { concatCodes, mergeCodes } from "../wire/merge-codes.ts";
import { concatMisses, mergeMisses, type MergedMisses } from "../wire/merge-misses.ts";
import { readTokens } from "../wire/prompt.ts";
import { floatTensor, onArrayBuffer, readFloats, residualDType, type ResidualDType } from "../wire/tensor.ts";
import type { Parts } from "./parts.ts";

/** Chunks of one stream at work: the engine never waits for the wire, and the wire never for the engine. */
const CHUNKS_IN_FLIGHT = 3;
const MOST_NEAR_MISSES = 64;

/** What the first chunk of a stream settles. */
interface Stream {
  readonly model: LoadedModel;
  readonly sae: SaeTarget;
  readonly dtype: ResidualDType;
  readonly options: EncodeOptions;
  readonly leave: () => void;
}

/** Encode and Decode: bidirectional streams of chunks, answered in order. */
export function codecHandlers({ config, saes }: Parts): Pick<Handlers<typeof SaeService>, "encode" | "decode"> {
  const open = (name: string): Omit<Stream, "dtype" | "options"> => {
    if (name === "") throw invalidArgument("sae", "is not set in the first chunk, wanted models/{model}/saes/{sae}");
    const { model, sae } = saes.useWithModel("sae", name);
    return { model, sae, leave: model.gate.enter() };
  };
  return {
    async *encode(requests, { signal }) {
      let stream: Stream | undefined;
      try {
        const chunks = inOrder(requests, CHUNKS_IN_FLIGHT, async (request) => {
          stream ??= { ...open(request.sae), ...encodeOptions(request, signal) };
          return { chunkId: request.chunkId, ...chunkMessage(await encodeChunk(request, stream, config.maxPrompts)) };
        });
        yield* chunks;
      } catch (error) {
        throw stream === undefined ? error : stream.model.explain(error);
      } finally {
        stream?.leave();
      }
    },
    async *decode(requests) {
      let stream: Omit<Stream, "dtype" | "options"> | undefined;
      try {
        const chunks = inOrder(requests, CHUNKS_IN_FLIGHT, async ({ sae, chunkId, code }) => {
          stream ??= open(sae);
          if (code === undefined) throw invalidArgument("code", `is not set in chunk ${chunkId}`);
          const { model, sae: target } = stream;
          if (code.dSae !== target.dSae) throw invalidArgument("code.d_sae", `got ${code.dSae}, wanted ${target.dSae}`, "SAE_MISMATCH");
          const rows = await model.engine.decodeRows(target.engineName, unpackSparse(code));
          const width = model.engine.info.dModel;
          return { chunkId, residual: floatTensor(rows, [rows.length / width, width]) };
        });
        yield* chunks;
      } catch (error) {
        throw stream === undefined ? error : stream.model.explain(error);
      } finally {
        stream?.leave();
      }
    },
  };
}

function encodeOptions(request: EncodeRequest, signal: AbortSignal): Pick<Stream, "dtype" | "options"> {
  const dtype = request.activationDtype === DataType.UNSPECIFIED ? "F16" : residualDType("activation_dtype", request.activationDtype);
  return { dtype, options: { activationDtype: dtype, maxFeatures: request.maxFeaturesPerToken, signal } };
}

/** A chunk's code, and the near-misses of its rows when they were asked for. */
interface EncodedChunk {
  readonly code: WireSparseCode;
  readonly nearMisses?: MergedMisses;
}

async function encodeChunk({ input, chunkId, nearMisses }: EncodeRequest, stream: Stream, maxPrompts: number): Promise<EncodedChunk> {
  if (nearMisses > MOST_NEAR_MISSES) throw invalidArgument("near_misses", `got ${nearMisses}, wanted at most ${MOST_NEAR_MISSES}`);
  if (input.case === "sequences") return encodeSequences(input.value, stream, nearMisses, maxPrompts);
  if (input.case !== "residual") throw invalidArgument("input", `is not set in chunk ${chunkId}, wanted residual or sequences`);
  const { model, sae, dtype, options } = stream;
  const rows = readFloats("residual", input.value, ["any", model.engine.info.dModel]);
  if (rows.length === 0) return { code: emptyCode(sae) };
  const parts: EngineRows[] = [];
  for await (const part of model.engine.encodeRows(sae.engineName, rows, { ...options, nearMisses })) parts.push(part);
  const code = concatCodes(parts.map((part) => part.code), dtype);
  return nearMisses === 0 ? { code } : { code, nearMisses: concatMisses(parts) };
}

async function encodeSequences({ sequences }: TokenSequences, { model, sae, options }: Stream, nearMisses: number, maxPrompts: number): Promise<EncodedChunk> {
  if (sequences.length > maxPrompts) throw invalidArgument("sequences", `got ${sequences.length}, wanted at most ${maxPrompts}`);
  if (sequences.length === 0) return { code: emptyCode(sae) };
  const tokens = sequences.map((sequence, i) => readTokens(`sequences[${i}]`, sequence, model.reader).ids);
  const batches: EncodedBatch[] = [];
  for await (const batch of model.engine.encode(
    sae.engineName,
    tokens.map((ids) => ({ tokens: ids })),
    { ...options, nearMisses, hook: sae.hookName },
  )) {
    batches.push(batch);
  }
  const lengths = tokens.map(({ length }) => length);
  const code = mergeCodes(batches, lengths);
  return nearMisses === 0 ? { code } : { code, nearMisses: mergeMisses(batches, lengths) };
}

function emptyCode({ dSae }: SaeTarget): WireSparseCode {
  return { nTokens: 0, k: 0, dSae, featureIndices: new Uint8Array(), activations: new Uint8Array(), activationDtype: 1 };
}

function chunkMessage({ code, nearMisses }: EncodedChunk) {
  if (nearMisses === undefined) return { code: codeMessage(code) };
  return { code: codeMessage(code), nearMisses: codeMessage(nearMisses.code), nearMissThresholds: onArrayBuffer(nearMisses.thresholds) };
}

function codeMessage({ featureIndices, activations, rowOffsets, ...rest }: WireSparseCode): MessageInitShape<typeof SparseCodeSchema> {
  return {
    ...rest,
    featureIndices: onArrayBuffer(featureIndices),
    activations: onArrayBuffer(activations),
    ...(rowOffsets === undefined ? {} : { rowOffsets: onArrayBuffer(rowOffsets) }),
  };
}
