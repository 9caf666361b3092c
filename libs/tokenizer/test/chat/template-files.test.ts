import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/index.ts";
import { fixture } from "../fixtures.ts";

const hello = [{ role: "user", content: "the river" }] as const;

describe("the chat template of a folder", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "tokenizer-"));
    await copyFile(fixture("tekken-v3/tekken.json"), join(folder, "tekken.json"));
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  it("is the instruct format of the tokenizer's version where there is none", async () => {
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.hasChatTemplate).toBe(true);
    expect((await tokenizer.chat(hello)).text).toBe("<s>[INST]the river[/INST]");
  });

  it("is read from chat_template.json, from tokenizer_config.json before it, from chat_template.jinja before both", async () => {
    const texts: string[] = [];
    for (const [file, content] of [
      ["chat_template.json", JSON.stringify({ chat_template: "json {{ messages[0].content }}" })],
      ["tokenizer_config.json", JSON.stringify({ chat_template: "config {{ messages[0].content }}" })],
      ["chat_template.jinja", "jinja {{ messages[0].content }}"],
    ] as const) {
      await writeFile(join(folder, file), content);
      texts.push((await (await loadTokenizer(folder)).chat(hello)).text);
    }
    expect(texts).toEqual(["json the river", "config the river", "jinja the river"]);
  });

  it("writes BOS itself, and it stands there once", async () => {
    await writeFile(join(folder, "chat_template.jinja"), "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]");
    const { ids } = await (await loadTokenizer(folder)).chat(hello);
    expect([...ids].filter((id) => id === 1)).toEqual([1]);
    expect(ids[0]).toBe(1);
  });
});
