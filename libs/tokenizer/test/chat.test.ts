import { readFileSync } from "node:fs";
import { demoModelDir } from "@mistral-sae/demo-model";
import { describe, expect, it } from "vitest";
import { type ChatMessage, loadTokenizer } from "../src/index.ts";

interface Case {
  readonly messages: ChatMessage[];
  readonly rendered: string;
  readonly ids: number[];
}

const golden = JSON.parse(readFileSync(new URL("fixtures/chat.json", import.meta.url), "utf8")) as Case[];
const tokenizer = await loadTokenizer(demoModelDir);

describe("a conversation", () => {
  it("renders and tokenises as in transformers", async () => {
    for (const { messages, rendered, ids } of golden) {
      const chat = await tokenizer.chat(messages);
      expect(chat.text).toBe(rendered);
      expect([...chat.ids]).toEqual(ids);
    }
  });

  it("tells which positions each role wrote", async () => {
    for (const { messages } of golden) {
      const chat = await tokenizer.chat(messages);
      expect(chat.spans.map(({ role }) => role)).toEqual(messages.map(({ role }) => role));
      for (const [i, { start, end }] of chat.spans.entries()) {
        expect(tokenizer.decode(chat.ids.subarray(start, end)).trim()).toBe(messages[i]?.content);
      }
    }
  });

  it("places spans after characters outside the basic plane", async () => {
    const messages: ChatMessage[] = [
      { role: "user", content: "🐟🐟 fish" },
      { role: "assistant", content: "Yes." },
    ];
    const chat = await tokenizer.chat(messages);
    const said = chat.spans.map(({ start, end }) => tokenizer.decode(chat.ids.subarray(start, end)).trim());
    expect(said).toEqual(["🐟🐟 fish", "Yes."]);
  });

  it("is refused in the template's own words when a role does not fit", async () => {
    await expect(tokenizer.chat([{ role: "tool", content: "4" }])).rejects.toThrow(
      /messages.*Only user, assistant and a leading system role are supported/,
    );
  });

  it("is refused when empty", async () => {
    await expect(tokenizer.chat([])).rejects.toThrow(/at least one/);
  });
});
