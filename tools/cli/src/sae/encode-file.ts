import { denseOf, isTranscoder, outputWidth, SaeCodec, type SaeWeights } from "@mistral-sae/sae";
import { bytesOf, InputError, openSafetensors, SafetensorsWriter, type TensorSource } from "@mistral-sae/tensor";
import { FitMeter, type Fit } from "./fit-meter.ts";

/** What to encode, and where to. */
export interface EncodeFileOptions {
  readonly input: string;
  /** Name of the tensor [n, d_in] in the input. */
  readonly tensor: string;
  /** Transcoders: name of the tensor [n, d_out] of rows that it is to write; without it no FVU is measured. */
  readonly targetTensor?: string | undefined;
  readonly output: string;
  readonly signal: AbortSignal;
  /** Called with the rows done and their total. */
  readonly onProgress: (done: number, total: number) => void;
}

// Dense activations held at once: 16 MiB, and never fewer rows than the codec works on together.
const BLOCK_FLOATS = 1 << 22;
const LEAST_ROWS = 32;

/**
 * Runs an SAE over a tensor [n, d_in] and writes `feature_acts` [n, d_sae] and `reconstruction` [n, d_out], f32, some rows at a time.
 * The output appears whole or not at all. Throws InputError for a tensor that does not fit the SAE.
 */
export async function encodeFile(sae: SaeWeights, options: EncodeFileOptions): Promise<Fit> {
  const { dIn, dSae } = sae.config;
  const dOut = outputWidth(sae.config);
  const targetTensor = options.targetTensor ?? (isTranscoder(sae.config) ? undefined : options.tensor);
  await using source = await openSafetensors(options.input);
  const rows = rowsOf(source, options.input, options.tensor, dIn, "d_in");
  if (targetTensor !== undefined) {
    const targets = rowsOf(source, options.input, targetTensor, dOut, "d_out");
    if (targets !== rows) throw new InputError("the rows to be written are not as many as those to be read", { file: options.input, field: targetTensor, got: targets, wanted: rows });
  }
  await using writer = await SafetensorsWriter.create(options.output, {
    feature_acts: { dtype: "F32", shape: [rows, dSae] },
    reconstruction: { dtype: "F32", shape: [rows, dOut] },
  });
  const codec = new SaeCodec(sae);
  const meter = new FitMeter(dOut, dSae);
  const step = Math.max(LEAST_ROWS, Math.floor(BLOCK_FLOATS / dSae));
  const dense = new Float32Array(Math.min(step, rows) * dSae);
  options.onProgress(0, rows);
  for (let start = 0; start < rows; start += step) {
    options.signal.throwIfAborted();
    const end = Math.min(rows, start + step);
    const x = await source.readF32(options.tensor, { rows: { start, end } });
    const codes = encodeRows(codec, x, start, options.input);
    const reconstruction = codec.decodeRows(codes, codes.stats);
    await writer.append("feature_acts", bytesOf(denseOf(codes, dense.subarray(0, (end - start) * dSae))));
    await writer.append("reconstruction", bytesOf(reconstruction));
    const y = targetTensor === undefined || targetTensor === options.tensor ? x : await source.readF32(targetTensor, { rows: { start, end } });
    if (targetTensor === undefined) meter.addCodes(codes);
    else meter.add(y, reconstruction, codes);
    options.onProgress(end, rows);
  }
  await writer.commit();
  return meter.result();
}

function rowsOf(source: TensorSource, input: string, tensor: string, width: number, field: string): number {
  const found = source.tensors.get(tensor);
  if (found === undefined) {
    throw new InputError(`the input has no tensor "${tensor}"`, { file: input, field: tensor, got: [...source.tensors.keys()].slice(0, 12).join(", ") || "no tensors", wanted: `${tensor} [n, ${width}]` });
  }
  const [rows, columns] = found.shape;
  if (found.shape.length !== 2 || rows === undefined || columns !== width) {
    throw new InputError("the input does not fit the SAE", { file: input, field: tensor, got: `shape [${found.shape.join(", ")}]`, wanted: `[n, ${width}] (${field} ${width} of the SAE)` });
  }
  return rows;
}

function encodeRows(codec: SaeCodec, x: Float32Array, firstRow: number, file: string): ReturnType<SaeCodec["encodeRows"]> {
  try {
    return codec.encodeRows(x, firstRow);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.summary, { file, ...(error.field === undefined ? {} : { field: error.field }), got: error.got, wanted: error.wanted }, { cause: error });
  }
}
