import { quantiseModel } from "@mistral-sae/model";
import { Option, type Command } from "commander";
import { group, integer, run, type CommandContext } from "../command.ts";
import { formatBytes, formatFields, formatSeconds } from "../output.ts";
import { userPath } from "../paths.ts";

interface QuantizeOptions {
  readonly precision: "int8" | "int4";
  readonly out: string;
  readonly blockSize?: number;
  readonly headBits?: number;
  readonly threads?: number;
}

/** `model quantize`. */
export function registerQuantizeCommand(program: Command): void {
  group(program, "model", "Models: what is loaded, loading, what a folder holds.")
    .command("quantize")
    .description("Write a model's weights in blocks of int8 or int4 to a new folder, which loads like any other.")
    .argument("<folder>", "model folder with F32, F16 or BF16 weights")
    .addOption(new Option("--precision <precision>", "bits of the weights").choices(["int8", "int4"]).makeOptionMandatory())
    .requiredOption("--out <folder>", "folder to write; must not exist yet")
    .option("--block-size <n>", "weights that share a scale: 16, 32, 64, … (default: 32)", integer({ min: 16 }))
    .addOption(new Option("--head-bits <bits>", "bits of the unembedding: 8 costs memory and gains accuracy (default: those of the precision)").choices(["4", "8"]).argParser(Number))
    .option("--threads <n>", "threads (default: every core)", integer({ min: 1 }))
    .addHelpText("after", "\nExample:\n  mistral-sae model quantize ./Mistral-7B-v0.3 --precision int4 --out ./Mistral-7B-v0.3-int4")
    .action(run(quantize));
}

async function quantize({ output, signal }: CommandContext, folder: string, options: QuantizeOptions): Promise<void> {
  const progress = output.progress("quantize");
  const began = performance.now();
  const written = await quantiseModel(userPath(folder), userPath(options.out), {
    precision: options.precision,
    signal,
    onProgress: (done, total) => progress.update({ done, total, unit: "bytes" }),
    ...(options.blockSize === undefined ? {} : { blockSize: options.blockSize }),
    ...(options.headBits === undefined ? {} : { headBits: options.headBits === 8 ? 8 : 4 }),
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  progress.finish();
  const seconds = (performance.now() - began) / 1000;
  const { quantisation } = written;
  const facts = {
    out: written.folder,
    precision: quantisation.precision,
    block_size: quantisation.blockSize,
    module_bits: Object.fromEntries(quantisation.moduleBits),
    source_bytes: written.sourceBytes,
    bytes: written.bytes,
    weights_sha256: quantisation.weightsDigest,
    source_digest: quantisation.sourceDigest,
    seconds,
  };
  output.result(facts, () =>
    formatFields([
      ["folder", written.folder],
      ["precision", `${quantisation.precision}, blocks of ${quantisation.blockSize}`],
      ["weights", `${formatBytes(written.bytes)}, from ${formatBytes(written.sourceBytes)}`],
      ["time", formatSeconds(seconds)],
      ["weights sha256", quantisation.weightsDigest],
    ]),
  );
}
