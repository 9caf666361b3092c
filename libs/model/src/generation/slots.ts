import { InputError } from "@mistral-sae/tensor";
import type { SlotId } from "../engine.ts";
import type { KvCache } from "../runtime/kv-cache.ts";
import type { Slot } from "./slot.ts";

/** The sequences under way, by handle. */
export class Slots {
  readonly #cache: KvCache;
  readonly #slots = new Map<SlotId, Slot>();
  #next: SlotId = 1;

  constructor(cache: KvCache) {
    this.#cache = cache;
  }

  /** Slots that were not given back. */
  get size(): number {
    return this.#slots.size;
  }

  add(slot: Slot): SlotId {
    const id = this.#next++;
    this.#slots.set(id, slot);
    return id;
  }

  /** Throws InputError when there is no such slot. */
  get(id: SlotId, field = "slot"): Slot {
    const slot = this.#slots.get(id);
    if (slot === undefined) throw new InputError("there is no such slot", { field, got: id, wanted: "a slot that was not freed" });
    return slot;
  }

  /** Gives slots and their cache rows back. */
  free(ids: readonly SlotId[]): void {
    for (const id of ids) {
      const slot = this.#slots.get(id);
      if (slot === undefined) continue;
      this.#slots.delete(id);
      this.#cache.release(slot.cache);
    }
  }
}
