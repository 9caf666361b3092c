import { SteeringMethodSchema, StrengthUnitSchema, type Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import { SteeringPresetSchema, type SteeringPreset } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import type { Command } from "commander";
import { connect } from "../clients.ts";
import { group, run } from "../command.ts";
import { enumWord } from "../enums.ts";
import { badInput, formatNumber, messageJson, missing } from "../output.ts";
import { allPages, resourceName } from "../resources.ts";
import { addSteeringOptions, interventionsOf, type SteeringOptions } from "../steering-options.ts";

interface CreateOptions extends SteeringOptions {
  readonly displayName?: string;
}

/** `steer preset ls | show | create | rm`. */
export function registerPresetVerbs(steer: Command): void {
  const preset = group(steer, "preset", "Stored sets of interventions.");
  preset
    .command("ls")
    .description("List presets.")
    .action(
      run(async ({ output, signal, address }) => {
        const clients = connect(address);
        const presets = await allPages(async (pageToken) => {
          const page = await clients.steering.listSteeringPresets({ pageSize: 1000, pageToken }, { signal });
          return { rows: page.steeringPresets, nextPageToken: page.nextPageToken };
        });
        output.table(
          presets,
          [
            { header: "name", cell: ({ name }) => name },
            { header: "for people", cell: ({ displayName }) => displayName },
            { header: "edits", cell: ({ interventions }) => interventions.map(describeIntervention).join("; "), maxWidth: 80 },
          ],
          (row) => messageJson(SteeringPresetSchema, row),
          "no presets",
        );
      }),
    );
  preset
    .command("show")
    .description("Show a preset.")
    .argument("<preset>", "steeringPresets/{preset} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("steeringPresets", given);
        const { steeringPreset } = await connect(address).steering.getSteeringPreset({ name }, { signal });
        if (steeringPreset === undefined) throw missing(`${name} does not exist`);
        output.message(SteeringPresetSchema, steeringPreset, () => describePreset(steeringPreset));
      }),
    );
  addSteeringOptions(
    preset
      .command("create")
      .description("Store a preset.")
      .argument("<id>", "id to give it: a-z, 0-9 and -")
      .option("--display-name <text>", "name for people"),
  ).action(
    run(async ({ output, signal, address }, steeringPresetId: string, options: CreateOptions) => {
      const clients = connect(address);
      const interventions = await interventionsOf(clients, options, signal);
      if (interventions.length === 0) throw badInput("a preset needs something to do", { field: "--feature", wanted: "at least one feature" });
      const { steeringPreset } = await clients.steering.createSteeringPreset(
        { steeringPresetId, steeringPreset: { displayName: options.displayName ?? "", interventions } },
        { signal },
      );
      if (steeringPreset !== undefined) output.message(SteeringPresetSchema, steeringPreset, () => describePreset(steeringPreset));
    }),
  );
  preset
    .command("rm")
    .description("Delete a preset.")
    .argument("<preset>", "steeringPresets/{preset} or its id")
    .action(
      run(async ({ output, signal, address }, given: string) => {
        const name = resourceName("steeringPresets", given);
        await connect(address).steering.deleteSteeringPreset({ name }, { signal });
        output.result({ name }, () => `${name} is deleted`);
      }),
    );
}

function describePreset(preset: SteeringPreset): string {
  return [`${preset.name}${preset.displayName === "" ? "" : ` (${preset.displayName})`}`, ...preset.interventions.map((one) => `  ${describeIntervention(one)}`)].join("\n");
}

function describeIntervention({ target, method, strength, unit }: Intervention): string {
  const what = target.case === "feature" ? `feature ${target.value.featureIndex}` : target.case === "direction" ? `direction at ${target.value.hookName}` : (target.value ?? "");
  const how = strength === undefined ? "" : ` ${formatNumber(strength)} ${enumWord(StrengthUnitSchema, unit)}`;
  return `${enumWord(SteeringMethodSchema, method)} ${what}${how}`;
}
