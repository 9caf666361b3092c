import type { CommandContext } from "../command.ts";
import { connect } from "../clients.ts";
import { badInput, type Output } from "../output.ts";
import { modelName } from "../resources.ts";
import { fitPreset, presetNamed, withPreset, type ModelShape } from "./presets.ts";
import type { TrainOptions } from "./train-options.ts";

/** Options with those of their preset at the shape of a model, told in a few lines; without a preset as they are. */
export function fitted<Options extends TrainOptions>(options: Options, shape: ModelShape, output: Output): Options {
  if (options.preset === undefined) return options;
  const preset = presetNamed(options.preset);
  const { options: own, changes } = fitPreset(preset, shape);
  output.note(`preset ${options.preset}: ${preset.description}`);
  if (changes.length > 0) output.note(`scaled to the model at hand, where nothing else is asked for:\n${changes.map((line) => `  ${line}`).join("\n")}`);
  return withPreset(options, own) as Options;
}

/** The same for a model that is served. Throws bad input when the preset's text is not named. */
export async function fittedToModel(options: TrainOptions, { address, output, signal }: CommandContext): Promise<TrainOptions> {
  if (options.preset === undefined) return options;
  const { text } = presetNamed(options.preset);
  if (options.corpus === undefined) throw badInput(`preset ${options.preset} is trained on ${text}, which is not here`, { field: "--corpus", wanted: "a folder with it, or another text" });
  const { model, limits } = await connect(address).inference.getCapabilities({ model: modelName(options.model) }, { signal });
  if (model === undefined) throw badInput("the model is not known", { field: "--model", got: options.model ?? "nothing", wanted: "a model that is loaded" });
  const nCtx = Math.min(model.nCtx, limits?.maxContextTokens ?? model.nCtx);
  return fitted(options, { dModel: model.dModel, nLayers: model.nLayers, nCtx }, output);
}
