import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InputError } from "@mistral-sae/tensor";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HubError, type HubSettings, parseHubId, type UploadedSae, uploadSae, type UploadSaeOptions } from "../src/index.ts";
import { FakeUploadHub } from "./support/fake-upload-hub.ts";

const id = "me/saes";
const saeId = "blocks.1.hook_resid_post";

describe("an SAE uploaded to a hub", () => {
  let hub: FakeUploadHub;
  let folder: string;
  const weights = randomBytes(100_000);
  beforeEach(async () => {
    hub = await FakeUploadHub.open();
    folder = await mkdtemp(join(tmpdir(), "hub-upload-"));
    for (const [name, bytes] of [["cfg.json", "{}"], ["sae_weights.safetensors", weights], ["sparsity.safetensors", randomBytes(80)], ["trainer_state.pt", "not for the hub"]] as const) await writeFile(join(folder, name), bytes);
  });
  afterEach(async () => {
    const { violations } = hub;
    hub.close();
    await rm(folder, { recursive: true });
    if (violations.length > 0) throw new Error(violations.join("; "));
  });

  const settings = (more: Partial<HubSettings> = {}): HubSettings => ({ endpoint: hub.endpoint, token: hub.token, cacheDir: folder, offline: false, ...more });
  const patience = { attempts: 3, stallMs: 400, pauseMs: 1 };
  const upload = async (options: UploadSaeOptions = {}, repository = id): Promise<UploadedSae> => await uploadSae(folder, parseHubId(repository), saeId, { settings: settings(), patience, ...options });

  it("lies where SAE.from_pretrained looks, with a card, in a repository made for it", async () => {
    const seen = new Set<string>();
    const uploaded = await upload({ isPrivate: true, onProgress: (file) => seen.add(file) });
    const paths = ["cfg.json", "sae_weights.safetensors", "sparsity.safetensors"].map((name) => `${saeId}/${name}`);
    expect(uploaded).toMatchObject({ createdRepository: true, files: [...paths, "README.md"] });
    expect(hub.created).toEqual([expect.objectContaining({ organization: "me", name: "saes", type: "model", visibility: "private" })]);
    expect([...hub.repositories.get(id)!.keys()].toSorted()).toEqual([...paths, "README.md"].toSorted());
    expect(hub.bytes(id, paths[1]!)!.equals(weights)).toBe(true);
    expect(hub.bytes(id, "README.md")!.toString()).toMatch(/^---\nlibrary_name: saelens\n---\n[^]*SAE\.from_pretrained\("me\/saes", "blocks\.1\.hook_resid_post"\)/);
    expect(hub.commits).toEqual([{ summary: `Upload SAE ${saeId}`, branch: "main", paths: [...paths, "README.md"] }]);
    expect(seen.has(paths[1]!)).toBe(true);
  });

  it("joins others in a repository, whose card stays and whose known bytes are not sent again", async () => {
    await upload();
    hub.asked.length = 0;
    const again = await uploadSae(folder, parseHubId(id, "v2"), "other/layer", { settings: settings(), patience });
    expect(again).toMatchObject({ createdRepository: false, files: ["other/layer/cfg.json", "other/layer/sae_weights.safetensors", "other/layer/sparsity.safetensors"] });
    expect(hub.asked.filter((path) => path.includes("/store/"))).toEqual([]);
    expect(hub.commits.at(-1)?.branch).toBe("v2");
  });

  it("goes in parts where the hub asks for them, and again where an answer fails", async () => {
    hub.partBytes = 30_000;
    hub.faults.set("preupload", [503]);
    hub.faults.set("/store/", [500, 429]);
    hub.faults.set("/commit/", [502]);
    await upload();
    expect(hub.bytes(id, `${saeId}/sae_weights.safetensors`)!.equals(weights)).toBe(true);
    hub.faults.set("preupload", [503, 503, 503]);
    await expect(upload()).rejects.toThrow(/come again/);
  });

  it("is told when the hub does not hold what was sent", async () => {
    hub.damage = true;
    await expect(upload()).rejects.toThrow(HubError);
    await expect(upload()).rejects.toThrow(/sae_weights\.safetensors of the commit .* is not the file that was sent: got 99999 bytes.*wanted 100000/);
  });

  it("is refused before anything is sent: no token, another folder, a strange id, no leave to send", async () => {
    for (const [options, wrong] of [
      [{ settings: settings({ token: undefined }) }, /needs a token.*HF_TOKEN/],
      [{ settings: settings({ token: "secret" }) }, /HF_TOKEN.*hf_/],
      [{ settings: settings({ offline: true }) }, /nothing may be sent.*HF_HUB_OFFLINE/],
    ] as const) {
      await expect(upload(options)).rejects.toThrow(wrong);
    }
    await expect(uploadSae(folder, parseHubId(id), "../up", { settings: settings() })).rejects.toThrow(/not an id of an SAE.*got \.\.\/up/);
    await rm(join(folder, "cfg.json"));
    await expect(upload()).rejects.toThrow(/no SAE of SAELens.*cfg\.json.*sae convert/);
    expect(hub.asked).toEqual([]);
  });

  it("is refused when the token may not write", async () => {
    const refused = upload({ settings: settings({ token: "hf_reads" }) });
    await expect(refused).rejects.toBeInstanceOf(InputError);
    await expect(refused).rejects.toThrow(/does not let me\/saes be written.*got 401/);
  });

  it("can be cancelled", async () => {
    const stop = new AbortController();
    const running = upload({ signal: stop.signal, onProgress: () => stop.abort(new Error("enough")) });
    await expect(running).rejects.toThrow("enough");
    expect(hub.commits).toEqual([]);
  });
});
