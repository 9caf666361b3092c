import { cfgOf, digestOf, hookNameOf, isTranscoder, loadSae, type LoadedSae, outputWidth, readFiringRates, summarizeWeights, WEIGHT_DTYPES, type SaeWeights, type WeightDType } from "@mistral-sae/sae";
import { Option, type Command } from "commander";
import { dirname } from "node:path";
import { group, run } from "../command.ts";
import { formatCount, formatFields, formatNumber, type Output } from "../output.ts";
import { userPath } from "../paths.ts";
import { convertTo, requireFree, WRITTEN_FORMATS, type WrittenFormat } from "../sae/convert-folder.ts";
import { encodeFile } from "../sae/encode-file.ts";
import { inspectionText } from "../sae/inspection.ts";
import { type LoadOptions, loadOptionsOf, withLoadOptions } from "../sae/load-options.ts";
import { storedTensors } from "../sae/stored-tensors.ts";

interface EncodeOptions extends LoadOptions {
  readonly sae: string;
  readonly input: string;
  readonly output: string;
  readonly tensor: string;
  readonly targetTensor?: string;
}

interface ConvertOptions extends LoadOptions {
  readonly hookName?: string;
  readonly dtype?: WeightDType;
  readonly format: WrittenFormat;
}

/** `sae inspect | encode | convert`: SAE folders on disk, no service needed. */
export function registerSaeCommands(program: Command): void {
  const sae = group(program, "sae", "Sparse autoencoders: the registry of the running system, and folders on disk.");
  withLoadOptions(sae.command("inspect").description("Show what an SAE folder on disk holds.").argument("<folder>", "SAE in any of the formats read")).action(run(inspect));
  withLoadOptions(
    sae
      .command("encode")
      .description("Encode rows from a file: writes feature_acts [n, d_sae] and reconstruction [n, d_out], f32.")
      .requiredOption("--sae <folder>", "SAE in any of the formats read")
      .requiredOption("--input <file.safetensors>", "rows [n, d_in], of any float type")
      .requiredOption("--output <file.safetensors>", "where to write; replaced when it is there")
      .option("--tensor <name>", "the tensor that holds the rows", "x")
      .option("--target-tensor <name>", "transcoders: the tensor that holds the rows to be written [n, d_out], for the FVU"),
  ).action(run(encode));
  withLoadOptions(
    sae
      .command("convert")
      .description("Write an SAE of any format as a folder that SAELens 6, or sparsify, loads.")
      .argument("<in>", "SAE in any of the formats read")
      .argument("<out>", "new folder")
      .addOption(new Option("--format <format>", "layout to write; sparsify holds what SAELens has no name for: groupmax, topk transcoders").choices(WRITTEN_FORMATS).default("saelens"))
      .option("--hook-name <hook>", "hook to write, when the file's own is missing or wrong")
      .addOption(new Option("--dtype <dtype>", "type of the written weights; that of the input otherwise").choices(WEIGHT_DTYPES)),
  ).action(run(convert));
}

type Context = Parameters<Parameters<typeof run>[0]>[0];

async function inspect({ output }: Context, folder: string, options: LoadOptions): Promise<void> {
  const { sae, source } = await load(output, folder, options);
  const summary = summarizeWeights(sae);
  const inspection = {
    format: source.format,
    path: source.path,
    digest: await digestOf(source),
    cfg: cfgOf(sae.config),
    tensors: await storedTensors(source),
    weights: snakeKeys(summary),
    firing_rates: await readFiringRates(dirname(source.files[0] ?? source.path), sae.config.dSae),
    warnings: source.warnings,
  };
  output.result(inspection, () => inspectionText(sae, { ...inspection, weights: summary }));
}

/** The object under snake_case keys, as cfg.json and the contracts name things. */
function snakeKeys(value: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).map(([key, held]) => [key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), held]));
}

async function encode({ output, signal }: Context, options: EncodeOptions): Promise<void> {
  const { sae } = await load(output, options.sae, options);
  const progress = output.progress("encode");
  const target = userPath(options.output);
  const fit = await encodeFile(sae, {
    input: userPath(options.input),
    tensor: options.tensor,
    targetTensor: options.targetTensor,
    output: target,
    signal,
    onProgress: (done, total) => progress.update({ done, total, unit: "rows" }),
  });
  progress.finish();
  const { dIn, dSae } = sae.config;
  const compared = !isTranscoder(sae.config) || options.targetTensor !== undefined;
  output.result({ output: target, rows: fit.rows, d_in: dIn, d_out: outputWidth(sae.config), d_sae: dSae, ...(compared ? { fvu: fit.fvu } : {}), l0: fit.l0, features_fired: fit.fired }, () =>
    formatFields([
      ["written", target],
      ["rows", formatCount(fit.rows)],
      ["FVU", compared ? formatNumber(fit.fvu) : "unknown: --target-tensor names the rows to be written"],
      ["L0", formatNumber(fit.l0)],
      ["features that fired", `${formatCount(fit.fired)} of ${formatCount(dSae)}`],
    ]),
  );
}

async function convert({ output }: Context, from: string, to: string, options: ConvertOptions): Promise<void> {
  const target = userPath(to);
  await requireFree(target);
  const { sae, source } = await load(output, from, options);
  const written = await convertTo(target, adjust(sae, options), options.format);
  output.result({ from: source.path, from_format: source.format, format: options.format, folder: written.folder, weights_sha256: written.weightsSha256, cfg: JSON.parse(written.cfgJson) as unknown }, () =>
    formatFields([
      ["read", `${source.path} (${source.format})`],
      ["written", `${written.folder} (${options.format})`],
      ["architecture", sae.config.k === undefined ? sae.config.architecture : `${sae.config.architecture}, k ${sae.config.k}`],
      ["hook", options.hookName ?? hookNameOf(sae.config)],
      ["weights sha256", written.weightsSha256],
    ]),
  );
}

function adjust(sae: SaeWeights, { hookName, dtype }: ConvertOptions): SaeWeights {
  const metadata = hookName === undefined ? sae.config.metadata : { ...sae.config.metadata, hook_name: hookName };
  return { ...sae, config: { ...sae.config, metadata, dtype: dtype ?? sae.config.dtype } };
}

async function load(output: Output, folder: string, options: LoadOptions): Promise<LoadedSae> {
  const loaded = await loadSae(userPath(folder), loadOptionsOf(options));
  for (const warning of loaded.source.warnings) output.warn(warning);
  return loaded;
}
