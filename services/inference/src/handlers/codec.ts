import type { MessageInitShape } from "@bufbuild/protobuf";
import { DataType, type SparseCodeSchema } from "@mistral-sae/contracts/mistral_sae/common/v1/tensor";
import type { EncodeRequest, SaeService, TokenSequences } from "@mistral-sae/contracts/mistral_sae/sae/v1/sae";
import type { EncodedBatch, EncodeOptions } from "@mistral-sae/model";
import { type Handlers, invalidArgument } from "@mistral-sae/rpc";
import { unpackSparse, type WireSparseCode } from "@mistral-sae/tensor";
import type { SaeTarget } from "../interventions/resolve.ts";
import type { LoadedModel } from "../models/loaded-model.ts";
import { inOrder } from "../wire/ahead.ts";
import { concatCodes, mergeCodes } from "../wire/merge-codes.ts";
import { readTokens } from "../wire/prompt.ts";
import { floatTensor, onArrayBuffer, readFloats, residualDType, type ResidualDType } from "../wire/tensor.ts";
import type { Parts } from "./parts.ts";

/** Chunks of one stream at work: the engine never waits for the wire, and the wire never for the engine. */
const CHUNKS_IN_FLIGHT = 3;

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
          return { chunkId: request.chunkId, code: codeMessage(await encodeChunk(request, stream, config.maxPrompts)) };
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

async function encodeChunk({ input, chunkId }: EncodeRequest, stream: Stream, maxPrompts: number): Promise<WireSparseCode> {
  if (input.case === "sequences") return encodeSequences(input.value, stream, maxPrompts);
  if (input.case !== "residual") throw invalidArgument("input", `is not set in chunk ${chunkId}, wanted residual or sequences`);
  const { model, sae, dtype, options } = stream;
  const rows = readFloats("residual", input.value, ["any", model.engine.info.dModel]);
  if (rows.length === 0) return emptyCode(sae);
  const codes: WireSparseCode[] = [];
  for await (const { code } of model.engine.encodeRows(sae.engineName, rows, options)) codes.push(code);
  return concatCodes(codes, dtype);
}

async function encodeSequences({ sequences }: TokenSequences, { model, sae, options }: Stream, maxPrompts: number): Promise<WireSparseCode> {
  if (sequences.length > maxPrompts) throw invalidArgument("sequences", `got ${sequences.length}, wanted at most ${maxPrompts}`);
  if (sequences.length === 0) return emptyCode(sae);
  const tokens = sequences.map((sequence, i) => readTokens(`sequences[${i}]`, sequence, model.reader).ids);
  const batches: EncodedBatch[] = [];
  for await (const batch of model.engine.encode(
    sae.engineName,
    tokens.map((ids) => ({ tokens: ids })),
    { ...options, hook: sae.hookName },
  )) {
    batches.push(batch);
  }
  return mergeCodes(
    batches,
    tokens.map(({ length }) => length),
  );
}

function emptyCode({ dSae }: SaeTarget): WireSparseCode {
  return { nTokens: 0, k: 0, dSae, featureIndices: new Uint8Array(), activations: new Uint8Array(), activationDtype: 1 };
}

function codeMessage({ featureIndices, activations, rowOffsets, ...rest }: WireSparseCode): MessageInitShape<typeof SparseCodeSchema> {
  return {
    ...rest,
    featureIndices: onArrayBuffer(featureIndices),
    activations: onArrayBuffer(activations),
    ...(rowOffsets === undefined ? {} : { rowOffsets: onArrayBuffer(rowOffsets) }),
  };
}
