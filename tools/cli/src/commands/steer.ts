import type { Command } from "commander";
import { group } from "../command.ts";
import { registerPresetVerbs } from "./steer-preset.ts";
import { registerSuggestVerbs } from "./steer-suggest.ts";
import { registerSweepVerb } from "./steer-sweep.ts";
import { registerSteerTextVerb } from "./steer-text.ts";

/** `steer text | sweep | find | suggest | preset`. */
export function registerSteerCommands(program: Command): void {
  const steer = group(program, "steer", "Steer what the model writes by features.");
  registerSteerTextVerb(steer);
  registerSweepVerb(steer);
  registerSuggestVerbs(steer);
  registerPresetVerbs(steer);
}
