import { Session, type SessionSettings } from "./session.ts";

/** Graphs by name, each loaded when it is first asked for. */
export class Sessions {
  readonly #settings: SessionSettings;
  readonly #open = new Map<string, Session>();

  constructor(settings: SessionSettings) {
    this.#settings = settings;
  }

  async get(name: string, build: () => Uint8Array): Promise<Session> {
    let session = this.#open.get(name);
    if (session === undefined) {
      session = await Session.open(build(), this.#settings);
      this.#open.set(name, session);
    }
    return session;
  }

  async close(): Promise<void> {
    for (const session of this.#open.values()) await session.release();
    this.#open.clear();
  }
}
