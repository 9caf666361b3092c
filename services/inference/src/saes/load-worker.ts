import { parentPort, workerData } from "node:worker_threads";
import { decoderNorms, digestOf, foldGate, hookNameOf, isTranscoder, loadSae } from "@mistral-sae/sae";
import { InputError } from "@mistral-sae/tensor";
import type { LoadReply, SaeFolder } from "./sae-folder.ts";

/** Reads one SAE folder into shared memory, away from the thread that serves calls. */
async function read(folder: string): Promise<SaeFolder> {
  const { sae: stored, source } = await loadSae(folder);
  const { config } = stored;
  if (config.reshapeActivations !== "none") {
    throw new InputError("SAEs on attention heads are not served", { file: folder, field: "reshape_activations", got: config.reshapeActivations, wanted: "none" });
  }
  if (isTranscoder(config)) {
    throw new InputError("transcoders are not served", { file: folder, field: "d_out", got: config.dOut, wanted: "an SAE that writes the rows it reads; mistral-sae sae encode runs transcoders on rows from a file" });
  }
  if (config.skipConnection === true) {
    throw new InputError("SAEs with a skip connection are not served", { file: folder, field: "skip_connection", got: true, wanted: "false; mistral-sae sae encode runs them on rows from a file" });
  }
  const sae = foldGate(stored);
  const norms = decoderNorms(sae);
  let sum = 0;
  for (const norm of norms) sum += norm;
  const contextSize = config.metadata["context_size"];
  const datasetPath = config.metadata["dataset_path"];
  return {
    weights: {
      dIn: config.dIn,
      dSae: config.dSae,
      architecture: sae.config.architecture,
      k: config.k,
      wEnc: shared(sae.wEnc),
      bEnc: shared(sae.bEnc),
      wDec: shared(sae.wDec),
      bDec: shared(sae.bDec),
      threshold: sae.threshold === undefined ? undefined : shared(sae.threshold),
      normalizeActivations: config.normalizeActivations,
      applyBDecToInput: config.applyBDecToInput,
      rescaleActsByDecoderNorm: config.rescaleActsByDecoderNorm,
    },
    architecture: config.architecture,
    dtype: config.dtype,
    hookName: hookNameOf(config),
    contextSize: typeof contextSize === "number" ? contextSize : undefined,
    datasetPath: typeof datasetPath === "string" ? datasetPath : "",
    wDecNormMean: sum / config.dSae,
    digest: await digestOf(source),
    cfgJson: source.cfgJson,
    warnings: source.warnings,
  };
}

function shared(values: Float32Array): Float32Array {
  const copy = new Float32Array(new SharedArrayBuffer(values.byteLength));
  copy.set(values);
  return copy;
}

function reply(message: LoadReply): void {
  parentPort?.postMessage(message);
}

const { folder } = workerData as { folder: string };
read(folder).then(
  (sae) => reply({ sae }),
  (error: unknown) => {
    if (error instanceof InputError) {
      reply({ refused: { message: error.message, file: error.file, field: error.field } });
    } else {
      reply({ failed: error instanceof Error ? error.message : String(error) });
    }
  },
);
