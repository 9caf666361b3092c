/** The engine has ended, by `close()` or because its thread died; what was asked of it is lost, and may be asked of another. */
export class EngineEndedError extends Error {
  override readonly name = "EngineEndedError";
}
