import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { downloadSae, type DownloadSaeOptions, HubError, type HubSettings, parseHubId } from "../src/index.ts";
import { FakeHub } from "./support/fake-hub.ts";

const id = "tiny/mistral";

describe("an SAE downloaded from a hub", () => {
  let hub: FakeHub;
  let cacheDir: string;
  const put = (name: string, large = false): void => void hub.files.set(name, { bytes: randomBytes(large ? 200_000 : 60), large });
  beforeEach(async () => {
    hub = await FakeHub.open();
    cacheDir = await mkdtemp(join(tmpdir(), "hub-cache-"));
    for (const layer of [2, 10]) {
      put(`layer_${layer}/res/cfg.json`);
      put(`layer_${layer}/res/sae_weights.safetensors`, true);
      put(`layer_${layer}/res/sparsity.safetensors`);
      put(`layer_${layer}/res/plot.png`);
    }
    put("README.md");
  });
  afterEach(async () => {
    hub.close();
    await rm(cacheDir, { recursive: true, force: true });
  });

  const settings = (more: Partial<HubSettings> = {}): HubSettings => ({ endpoint: hub.endpoint, token: undefined, cacheDir, offline: false, ...more });
  const patience = { attempts: 3, stallMs: 400, pauseMs: 5 };
  const download = async (folder?: string, options: DownloadSaeOptions & { readonly revision?: string } = {}): Promise<string> => await downloadSae(parseHubId(id, options.revision), { settings: settings(), patience, folder, ...options });

  it("comes with what belongs to it and nothing else, in the layout of huggingface_hub, also when it was cut off", async () => {
    hub.faults.set("layer_2/res/sae_weights.safetensors", [{ kind: "cut", afterBytes: 90_000 }]);
    const folder = await download("layer_2/res/");
    expect(folder).toBe(join(cacheDir, "models--tiny--mistral", "snapshots", hub.sha, "layer_2", "res"));
    expect((await readdir(folder)).toSorted()).toEqual(["cfg.json", "sae_weights.safetensors", "sparsity.safetensors"]);
    expect((await readFile(join(folder, "sae_weights.safetensors"))).equals(hub.files.get("layer_2/res/sae_weights.safetensors")!.bytes)).toBe(true);
    expect(hub.fetches("layer_2/res/sae_weights.safetensors").at(-1)?.range).toBe("bytes=90000-");
    expect(hub.asked.some(({ path }) => path.includes("layer_10"))).toBe(false);
  });

  it("is asked for by its folder where there are several, and needs none where there is one", async () => {
    await expect(download()).rejects.toThrow(/several SAEs.*wanted layer_2\/res, layer_10\/res/);
    await expect(download("layer_3/res")).rejects.toThrow(/no SAE in that folder.*got layer_3\/res, wanted layer_2\/res/);
    hub.files.clear();
    put("layers.1/cfg.json");
    put("layers.1/sae.safetensors", true);
    put("config.json");
    const folder = await download();
    expect((await readdir(join(folder, ".."))).toSorted()).toEqual(["config.json", "layers.1"]);
    hub.files.clear();
    put("model.safetensors");
    await expect(download()).rejects.toThrow(/holds no SAE.*got model\.safetensors/);
  });

  it("is found in the cache offline, when the hub is away, and by its commit without a question", async () => {
    const folder = await download("layer_10/res");
    hub.asked.length = 0;
    expect(await download("layer_10/res", { settings: settings({ offline: true }) })).toBe(folder);
    expect(await download("layer_10/res", { revision: hub.sha })).toBe(folder);
    expect(hub.asked).toEqual([]);
    await expect(download("layer_2/res", { settings: settings({ offline: true }) })).rejects.toThrow(/not in the cache.*got tiny\/mistral\/layer_2\/res/);
    hub.faults.set("api", Array.from({ length: 3 }, () => ({ kind: "status", status: 503 }) as const));
    expect(await download("layer_10/res")).toBe(folder);
  });

  it("never leaves its folder, whatever names the hub gives", async () => {
    hub.files.set("../../outside/cfg.json", { bytes: randomBytes(10), large: false });
    await expect(download("layer_2/res")).rejects.toThrow(HubError);
  });
});
