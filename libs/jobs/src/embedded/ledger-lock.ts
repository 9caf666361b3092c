import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { failedPrecondition } from "@mistral-sae/rpc";

/**
 * Holds a ledger for one engine. The lock is a file lock of the operating system, taken by SQLite on a file beside
 * the ledger: it ends with the process, kill -9 included.
 */
export class LedgerLock {
  readonly #db: DatabaseSync;

  /** Waits up to `waitMs` for a dying predecessor. Throws FAILED_PRECONDITION LEDGER_IN_USE. */
  constructor(ledgerPath: string, waitMs = 5000) {
    mkdirSync(dirname(ledgerPath), { recursive: true });
    this.#db = new DatabaseSync(`${ledgerPath}.lock`, { timeout: waitMs });
    try {
      this.#db.exec("pragma locking_mode = exclusive; begin exclusive; commit;");
    } catch (error) {
      this.#db.close();
      throw failedPrecondition(
        "LEDGER_IN_USE",
        `${ledgerPath} is in use by another process: stop that one or give this one another data folder (${String(error)})`,
      );
    }
  }

  release(): void {
    if (this.#db.isOpen) this.#db.close();
  }
}
