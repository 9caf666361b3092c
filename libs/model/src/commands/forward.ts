import { packSparse, type WireSparseCode } from "@mistral-sae/tensor";
import { residualPoint } from "../hooks/hook-name.ts";
import { countRows, packRows } from "../runtime/batch.ts";
import type { ModelRuntime } from "../runtime/model-runtime.ts";
import { readOffsets, readRows } from "../runtime/read-rows.ts";
import type { NearMisses } from "../sae/near-misses.ts";
import type { Encoded } from "../sae/sae-runtime.ts";
import type { CodeFormat, CommandHandlers } from "../worker/protocol.ts";
import { proofsOf, unpackSequences } from "./sequences.ts";

/** Commands that run sequences as far as a hook. */
export function forwardCommands(runtime: ModelRuntime): Pick<CommandHandlers, "forward" | "encode" | "encodeRows"> {
  return {
    async forward({ batch: packed, taps, reading }) {
      const batch = unpackSequences(runtime, packed);
      const sites = runtime.sites(taps);
      const to = sites.reduce((deepest, { site }) => Math.max(deepest, site.point), 0);
      const { taps: read } = await runtime.pass(batch, to, sites);
      return { residuals: read.map((x, i) => readRows(batch, x, sites[i]!.site.width, reading)), offsets: readOffsets(batch, reading), proofs: proofsOf(batch.edits) };
    },

    async encode({ sae: name, hook, batch: sequences, format }) {
      const sae = runtime.sae(name);
      const batch = unpackSequences(runtime, sequences);
      const point = residualPoint(hook, runtime.nLayers);
      const { resid } = await runtime.pass(batch, point);
      const encoded = await sae.encode(packRows(batch, resid, runtime.dModel), countRows(batch), format.maxFeatures, format.nearMisses);
      return { ...packed(encoded, format), proofs: proofsOf(batch.edits) };
    },

    async encodeRows({ sae: name, rows, format }) {
      const sae = runtime.sae(name);
      return packed(await sae.encode(rows, rows.length / sae.sae.dIn, format.maxFeatures, format.nearMisses), format);
    },
  };
}

function packed({ code, nearMisses }: Encoded, { activationDtype }: CodeFormat): { readonly code: WireSparseCode; readonly nearMisses: NearMisses | undefined } {
  return { code: packSparse(code, activationDtype), nearMisses: nearMisses && { code: packSparse(nearMisses.code, "F32"), thresholds: nearMisses.thresholds } };
}
