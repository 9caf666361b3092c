/** A tenant with work that waits, or that had some. */
interface Tenant<T> {
  readonly items: T[];
  /** Tokens it was given so far; what it owes to the others. */
  served: number;
  /** When it was last taken from, in items taken of all. */
  taken: number;
}

/** Tenants without waiting work that are remembered. */
const IDLE_TENANTS = 1000;

/**
 * Work of several tenants, taken from the one that has been served least: the virtual token counter of "Fairness in
 * Serving Large Language Models" (Sheng et al., 2024), which is deficit round robin with the debt carried over instead of
 * a quantum handed out, because what a generation costs is known only after it ran. A tenant that comes back is lifted
 * to the least counter of those that wait, so that it saves up nothing while away; of equals, the one taken from longest
 * ago comes first. Each tenant's own work keeps its order.
 */
export class FairQueue<T> {
  readonly #tenants = new Map<string, Tenant<T>>();
  /** The counter of the tenant taken from last. */
  #floor = 0;
  #taken = 0;
  #size = 0;

  /** Items that wait. */
  get size(): number {
    return this.#size;
  }

  /** Items of one tenant that wait. */
  waiting(tenant: string): number {
    return this.#tenants.get(tenant)?.items.length ?? 0;
  }

  push(tenant: string, item: T): void {
    const known = this.#tenants.get(tenant);
    const entry = known ?? { items: [], served: 0, taken: 0 };
    if (known === undefined) this.#tenants.set(tenant, entry);
    if (entry.items.length === 0) entry.served = Math.max(entry.served, this.#next()?.served ?? this.#floor);
    entry.items.push(item);
    this.#size++;
  }

  /** The item whose turn it is. */
  peek(): T | undefined {
    return this.#next()?.items[0];
  }

  /** Takes the item whose turn it is. */
  shift(): T | undefined {
    const tenant = this.#next();
    if (tenant === undefined) return undefined;
    this.#floor = Math.max(this.#floor, tenant.served);
    tenant.taken = ++this.#taken;
    this.#size--;
    const item = tenant.items.shift();
    this.#forgetIdle();
    return item;
  }

  /** Takes an item out of its turn. Returns whether it was there. */
  remove(tenant: string, item: T): boolean {
    const items = this.#tenants.get(tenant)?.items;
    const index = items?.indexOf(item) ?? -1;
    if (items === undefined || index < 0) return false;
    items.splice(index, 1);
    this.#size--;
    return true;
  }

  /** Notes that a tenant was given so many tokens. */
  charge(tenant: string, tokens: number): void {
    const entry = this.#tenants.get(tenant);
    if (entry !== undefined) entry.served += tokens;
  }

  /** Takes the newest item of the tenant with the most waiting, if it has more than `least`. */
  displace(least: number): T | undefined {
    let most: Tenant<T> | undefined;
    for (const tenant of this.#tenants.values()) if (tenant.items.length > (most?.items.length ?? least)) most = tenant;
    if (most === undefined) return undefined;
    this.#size--;
    return most.items.pop();
  }

  /** Takes everything. */
  clear(): T[] {
    const all = [...this.#tenants.values()].flatMap(({ items }) => items);
    this.#tenants.clear();
    this.#size = 0;
    return all;
  }

  #next(): Tenant<T> | undefined {
    let next: Tenant<T> | undefined;
    for (const tenant of this.#tenants.values()) {
      if (tenant.items.length > 0 && (next === undefined || comesBefore(tenant, next))) next = tenant;
    }
    return next;
  }

  #forgetIdle(): void {
    if (this.#tenants.size <= IDLE_TENANTS) return;
    for (const [name, { items }] of this.#tenants) if (items.length === 0) this.#tenants.delete(name);
  }
}

function comesBefore<T>(a: Tenant<T>, b: Tenant<T>): boolean {
  return a.served === b.served ? a.taken < b.taken : a.served < b.served;
}
