import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { readHubSettings } from "../src/index.ts";

it("the environment says where the hub and its cache are, as it does to huggingface_hub", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hf-home-"));
  try {
    await writeFile(join(folder, "token"), "hf_file\n");
    expect(await readHubSettings({ HF_HOME: folder })).toEqual({ endpoint: "https://huggingface.co", token: "hf_file", cacheDir: join(folder, "hub"), offline: false });
    expect(await readHubSettings({ HF_HOME: folder, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" })).toMatchObject({ token: undefined });
    expect(await readHubSettings({ HF_HOME: "$BASE/home", BASE: folder, HF_TOKEN: "hf_env", HF_ENDPOINT: "http://127.0.0.1:1/", HF_HUB_OFFLINE: "yes" })).toEqual({ endpoint: "http://127.0.0.1:1", token: "hf_env", cacheDir: join(folder, "home", "hub"), offline: true });
    expect((await readHubSettings({ HF_HOME: folder, HF_HUB_CACHE: "~/models" })).cacheDir).toBe(join(homedir(), "models"));
    expect((await readHubSettings({ XDG_CACHE_HOME: folder })).cacheDir).toBe(join(folder, "huggingface", "hub"));
    await expect(readHubSettings({ HF_ENDPOINT: "hub" })).rejects.toThrow(/HF_ENDPOINT.*got hub/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
