import { describe, expect, it } from "vitest";
import { StopText } from "../../src/generation/stop-text.ts";

/** Pushes a text in pieces of every size from 1 and returns what was shown, and whether it stopped. */
function shown(text: string, size: number, stops: string[]): { text: string; stopped: boolean; early: boolean } {
  const stop = new StopText(stops);
  let out = "";
  let early = false;
  for (let at = 0; at < text.length; at += size) {
    const result = stop.push(text.slice(at, at + size));
    out += result.text;
    if (stops.some((wanted) => out.includes(wanted))) early = true;
    if (result.stopped) return { text: out, stopped: true, early };
  }
  return { text: out + stop.flush(), stopped: false, early };
}

describe("a stop text", () => {
  it("ends the text before its first place, however the text is cut", () => {
    for (let size = 1; size < 12; size++) {
      expect(shown("aab aabab aababc", size, ["aabab"])).toEqual({ text: "aab ", stopped: true, early: false });
      expect(shown("one two three", size, ["three", "two"])).toEqual({ text: "one ", stopped: true, early: false });
    }
  });

  it("that never comes whole loses nothing", () => {
    for (let size = 1; size < 12; size++) {
      expect(shown("abababab", size, ["ababac"])).toEqual({ text: "abababab", stopped: false, early: false });
      expect(shown("plain", size, [])).toEqual({ text: "plain", stopped: false, early: false });
    }
  });
});
