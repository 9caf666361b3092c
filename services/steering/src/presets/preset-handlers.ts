import type { Intervention } from "@mistral-sae/contracts/mistral_sae/common/v1/intervention";
import type { SteeringService } from "@mistral-sae/contracts/mistral_sae/steering/v1/steering";
import { type Handlers, invalidArgument, nextPageToken, pageStart, parseName, requireId } from "@mistral-sae/rpc";
import type { SteeringStore } from "./steering-store.ts";

type PresetMethods = "createSteeringPreset" | "getSteeringPreset" | "listSteeringPresets" | "updateSteeringPreset" | "deleteSteeringPreset";

/** The preset part of SteeringService. */
export function presetHandlers(store: SteeringStore): Pick<Handlers<typeof SteeringService>, PresetMethods> {
  return {
    createSteeringPreset: async ({ steeringPresetId, steeringPreset }) => {
      const id = requireId("steering_preset_id", steeringPresetId);
      const { displayName = "", interventions = [] } = steeringPreset ?? {};
      return { steeringPreset: store.create(id, { displayName, interventions: checked(interventions) }) };
    },

    getSteeringPreset: async ({ name }) => ({ steeringPreset: store.get(presetId(name, "name")) }),

    listSteeringPresets: async ({ pageSize, pageToken }) => {
      const { size, after } = pageStart({ pageSize, pageToken }, "steeringPresets");
      const rows = store.page(after, size + 1);
      const page = rows.slice(0, size);
      const last = page.at(-1);
      const token = rows.length > size && last !== undefined ? nextPageToken(presetId(last.name, "name"), "steeringPresets") : "";
      return { steeringPresets: page, nextPageToken: token };
    },

    updateSteeringPreset: async ({ steeringPreset, updateFields }) => {
      if (steeringPreset === undefined) throw invalidArgument("steering_preset", "got nothing, wanted the preset");
      const id = presetId(steeringPreset.name, "steering_preset.name");
      const fields = new Set(updateFields.length === 0 ? ["display_name", "interventions"] : updateFields);
      for (const field of fields) {
        if (field !== "display_name" && field !== "interventions") {
          throw invalidArgument("update_fields", `got "${field}", wanted display_name or interventions`);
        }
      }
      const before = store.get(id);
      const content = {
        displayName: fields.has("display_name") ? steeringPreset.displayName : before.displayName,
        interventions: fields.has("interventions") ? checked(steeringPreset.interventions) : before.interventions,
      };
      return { steeringPreset: store.update(id, content, steeringPreset.etag === "" ? before.etag : steeringPreset.etag) };
    },

    deleteSteeringPreset: async ({ name, etag }) => {
      store.delete(presetId(name, "name"), etag);
      return {};
    },
  };
}

/** The id in steeringPresets/{preset}. */
export function presetId(name: string, field: string): string {
  return parseName("steeringPresets/{preset}", name, field).preset;
}

function checked(interventions: Intervention[]): Intervention[] {
  if (interventions.length === 0) throw invalidArgument("steering_preset.interventions", "got none, wanted at least one");
  interventions.forEach(({ target }, i) => {
    const field = `steering_preset.interventions[${i}].target`;
    if (target.case === undefined) throw invalidArgument(field, "got nothing, wanted a feature, direction or sae");
    if (target.case === "preset") throw invalidArgument(field, `got ${target.value}, wanted no other preset`);
  });
  return interventions;
}
