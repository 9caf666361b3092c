import type { GenerateFinished } from "@mistral-sae/contracts/mistral_sae/inference/v1/inference";
import { SteerResponseSchema, type ResolvedQuery, type SteerResponse } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { type CommandContext, repeated, run } from "../command.ts";
import { badInput, formatNumber, messageJson, type Output } from "../output.ts";
import { modelName, parseSaeName, resolveSae, resourceName } from "../resources.ts";
import { addSamplingOptions, samplingOf, textArgument, type SamplingOptions } from "../sampling-options.ts";
import { SideBySide, type GrowingText } from "../side-by-side.ts";
import { addSteeringOptions, interventionsOf, unitAndMethod, type SteeringOptions } from "../steering-options.ts";

interface SteerTextOptions extends SamplingOptions, SteeringOptions {
  readonly model?: string;
  readonly words?: readonly string[];
  readonly preset?: readonly string[];
  readonly baseline: boolean;
  readonly kl?: boolean;
}

const STEERED = "steered";

/** `steer text`. */
export function registerSteerTextVerb(steer: Command): void {
  const command = steer
    .command("text")
    .description("Continue a text, unsteered beside steered, from one batch with one seed. --json prints one event a line.")
    .argument("<prompt>", "text to continue; - reads standard input")
    .option("--words <words>", "steer the feature that these words describe; may be given again", repeated)
    .option("--preset <preset>", "apply a stored preset; may be given again", repeated)
    .option("--model <model>", "models/{model} or its id; the only one loaded otherwise")
    .option("--no-baseline", "leave the unsteered text out")
    .option("--kl", "report each token's divergence from the unsteered text");
  addSamplingOptions(addSteeringOptions(command))
    .addHelpText(
      "after",
      '\nExamples:\n  mistral-sae steer text "Once upon a time" --feature 12 --strength 0.4 --seed 1\n  mistral-sae steer text "Once upon a time" --words "dragon castle"',
    )
    .action(run(steerText));
}

async function steerText(context: CommandContext, given: string, options: SteerTextOptions): Promise<void> {
  const { output, signal } = context;
  const prompt = textArgument(given, "prompt");
  if ((options.feature ?? options.words ?? options.preset) === undefined) {
    throw badInput("nothing to steer by", { wanted: "--feature INDEX, --words WORDS or --preset PRESET", hint: "`mistral-sae steer suggest` finds features that steer well" });
  }
  const clients = connect(context.address);
  const { unit, method } = unitAndMethod(options);
  const interventions = await interventionsOf(clients, options, signal);
  for (const preset of options.preset ?? []) interventions.push({ id: preset, target: { case: "preset", value: resourceName("steeringPresets", preset) } });
  const sae = options.sae === undefined ? "" : (parseSaeName(options.sae) ?? (await resolveSae(clients, options.sae, signal)));
  const queries = (options.words ?? []).map((query) => ({ sae, query, method, unit, ...(options.strength === undefined ? {} : { strength: options.strength }) }));
  const messages = clients.steering.steer(
    {
      model: modelName(options.model),
      prompt: { prompt: { case: "text", value: prompt } },
      sampling: samplingOf(options),
      variants: [{ variantId: STEERED, interventions, queries }],
      withoutBaseline: !options.baseline,
      withKl: options.kl ?? false,
    },
    { signal },
  );
  if (output.json) {
    for await (const message of messages) output.event(messageJson(SteerResponseSchema, message), "");
    return;
  }
  await show(output, prompt, options.baseline, messages);
}

async function show(output: Output, prompt: string, withBaseline: boolean, messages: AsyncIterable<SteerResponse>): Promise<void> {
  const baseline: GrowingText = { heading: "baseline", text: prompt };
  const steered: GrowingText = { heading: STEERED, text: prompt };
  const view = new SideBySide(withBaseline ? [baseline, steered] : [steered], process.stdout);
  const finished: GenerateFinished[] = [];
  let klSum = 0;
  let klSteps = 0;
  for await (const { event, resolvedQueries } of messages) {
    for (const query of resolvedQueries) output.note(describeQuery(query));
    const one = event?.event;
    if (one?.case === "started") for (const warning of one.value.warnings) output.warn(warning);
    if (one?.case === "finished") finished.push(one.value);
    if (one?.case !== "step") continue;
    (one.value.variantId === STEERED ? steered : baseline).text += one.value.textDelta;
    if (one.value.klFromBaseline !== undefined && one.value.variantId === STEERED) {
      klSum += one.value.klFromBaseline;
      klSteps++;
    }
    view.update();
  }
  view.finish();
  for (const { variantId, steeringAppliedSteps, steeringExpectedSteps, proofs, warnings } of finished) {
    for (const warning of warnings) output.warn(warning);
    if (variantId !== STEERED) continue;
    output.note(`steered ${steeringAppliedSteps} of ${steeringExpectedSteps} steps`);
    for (const proof of proofs) {
      output.note(`  ${proof.id} at ${proof.hookName}: strength ${formatNumber(proof.resolvedStrength)}, mean edit ${formatNumber(proof.meanDeltaNorm)}`);
    }
  }
  if (klSteps > 0) output.note(`mean KL from the baseline: ${formatNumber(klSum / klSteps)} nats a token`);
}

function describeQuery({ query, feature, description, strength }: ResolvedQuery): string {
  return `"${query}" is feature ${feature?.featureIndex ?? "?"} (${description}), strength ${formatNumber(strength)}`;
}
