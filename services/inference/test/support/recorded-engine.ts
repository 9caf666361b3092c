import { type Engine, openEngine } from "@mistral-sae/model";
import type { EngineOpener } from "../../src/index.ts";

/** What an engine was asked for, in order. */
export interface Asked {
  readonly name: "prefill" | "decode" | "free";
  /** Of decode and free. */
  readonly slots: readonly number[];
  /** Of prefill: tokens of each row. */
  readonly lengths: readonly number[];
}

/** The product's engine, with a record of what it was asked for; `before` may throw in its place. */
export function recordingOpener(record: Asked[], before: (asked: Asked) => void = () => undefined): EngineOpener {
  return async (options) => {
    const engine = await openEngine(options);
    const note = (asked: Asked): void => {
      record.push(asked);
      before(asked);
    };
    const recorded: Pick<Engine, "prefill" | "decode" | "free"> = {
      prefill: async (rows, step) => {
        note({ name: "prefill", slots: [], lengths: rows.map(({ tokens }) => tokens.length) });
        return await engine.prefill(rows, step);
      },
      decode: async (rows, step) => {
        note({ name: "decode", slots: rows.map(({ slot }) => slot), lengths: [] });
        return await engine.decode(rows, step);
      },
      free: async (slots) => {
        note({ name: "free", slots, lengths: [] });
        await engine.free(slots);
      },
    };
    return new Proxy(engine, {
      get: (target, name) => {
        if (name in recorded) return recorded[name as keyof typeof recorded];
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === "function" ? (value.bind(target) as unknown) : value;
      },
    });
  };
}
