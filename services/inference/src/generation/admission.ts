import { resourceExhausted } from "@mistral-sae/rpc";

/** What may wait. */
export interface AdmissionLimits {
  /** Generations. */
  readonly maxQueued: number;
  /** Tokens of prompts and of answers at their longest. */
  readonly maxQueuedTokens: number;
}

/** What a request says of itself before its text is looked at. */
export interface Load {
  /** Whose share it takes. */
  readonly tenant: string;
  /** Rows of the batch. */
  readonly rows: number;
  /** Tokens of all rows, estimated: prompt and answer. */
  readonly tokens: number;
}

/** A place in the queue, taken before a request's text is looked at. */
export interface Place {
  readonly load: Load;
  /** Leaves; once. */
  leave(): void;
}

/** When to come back where nothing says better. */
export const RETRY_MS = 1000;

/**
 * Counts what waits, by tenant. One tenant alone may fill the queue; when another comes then, the one with the most
 * waiting makes room for it, until they have as many each.
 */
export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #perTenant = new Map<string, number>();
  #requests = 0;
  #tokens = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Generations that wait, those whose text is being read included. */
  get requests(): number {
    return this.#requests;
  }

  get tokens(): number {
    return this.#tokens;
  }

  /**
   * Takes a place. What `freeRows` can take at once does not count as waiting. `displace` is to end one waiting
   * generation of a tenant that has more than so many, and says whether it did.
   *
   * @throws RESOURCE_EXHAUSTED CONCURRENCY_LIMIT or TOKEN_BUDGET.
   */
  enter(load: Load, freeRows: number, displace: (least: number) => boolean): Place {
    const mine = this.#perTenant.get(load.tenant) ?? 0;
    while (this.#requests >= this.#limits.maxQueued + freeRows) {
      if (displace(mine + 1)) continue;
      throw resourceExhausted("CONCURRENCY_LIMIT", `${this.#requests} generations wait already, ${this.#limits.maxQueued} may; try again later`, RETRY_MS);
    }
    while (this.#requests > 0 && this.#tokens + load.tokens > this.#limits.maxQueuedTokens) {
      if (displace(mine + 1)) continue;
      throw resourceExhausted("TOKEN_BUDGET", `about ${load.tokens} tokens are asked for and ${this.#tokens} wait already, ${this.#limits.maxQueuedTokens} may; try again later`, RETRY_MS);
    }
    this.#count(load, 1);
    let inside = true;
    return {
      load,
      leave: () => {
        if (inside) this.#count(load, -1);
        inside = false;
      },
    };
  }

  #count({ tenant, tokens }: Load, sign: 1 | -1): void {
    this.#requests += sign;
    this.#tokens += sign * tokens;
    const count = (this.#perTenant.get(tenant) ?? 0) + sign;
    if (count > 0) this.#perTenant.set(tenant, count);
    else this.#perTenant.delete(tenant);
  }
}
